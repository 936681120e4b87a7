"""Register-level devices. They answer offsets and do not know where they sit."""
