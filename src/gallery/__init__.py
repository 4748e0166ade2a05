"""Gallery: the image backend behind an app."""

__version__ = "0.1.0"
