"""What a user's own tests import: the pytest plugin and driver-side helpers."""
