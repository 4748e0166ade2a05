"""The bytes of originals and renditions, and signed links to them."""
