"""What an image is, and everything one can do with it."""
