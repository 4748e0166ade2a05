"""Authentication and authorization: callers, their credentials and their scopes."""
