"""The worker's work: claim an image, render it, settle; and the sweep."""
