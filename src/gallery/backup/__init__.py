"""Backups that prove themselves: made, verified, restored."""
