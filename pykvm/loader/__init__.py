"""Loaders: a file becomes an `Image`, an image becomes memory and an entry state."""
