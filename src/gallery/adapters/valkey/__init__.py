"""Valkey or Redis: commands, pub/sub and counted requests."""
