"""What tests of several rooms share: builders of good and of malformed input."""
