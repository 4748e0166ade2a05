"""Observability: logs, health, metrics and traces."""
