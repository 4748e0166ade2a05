"""How it feels: logs, health, metrics and traces."""
