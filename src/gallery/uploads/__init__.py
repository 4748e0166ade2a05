"""Uploads, from the first byte of the request to the image's row."""
