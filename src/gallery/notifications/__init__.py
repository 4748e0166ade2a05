"""News for whoever listens."""
