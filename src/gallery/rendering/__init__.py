"""Bytes in, bytes out: the format of a file, and its renditions for web pages. Imports only `gallery.errors`.

`probe` and `recipe` are light enough for the API's process. `pipeline.render` loads libvips when it is called, in a
child process.
"""
