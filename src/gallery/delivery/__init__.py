"""Picture bytes on their way out, and the links that lead to them."""
