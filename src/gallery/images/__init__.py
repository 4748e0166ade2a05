"""The image: its model, its rows, and the calls that read, list, change and delete it."""
