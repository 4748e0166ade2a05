"""How it feels: logs and health."""
