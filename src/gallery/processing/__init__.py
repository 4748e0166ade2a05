"""A worker's tasks: claim an image, render it, settle it; and the sweep."""
