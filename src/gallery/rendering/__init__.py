"""Bytes in, bytes out: what a file is, and the renditions that a page needs of it. Imports nothing of ours but errors.

`probe` and `recipe` are light and fit for the API's process; `pipeline.render` loads libvips when it is called, in a
process of its own.
"""
