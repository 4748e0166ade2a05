"""Jobs over the whole library, started by an operator's command."""
