"""Backups of the database and its objects: create, verify, restore."""
