"""The front door: one ASGI application from the rooms' own handlers."""
