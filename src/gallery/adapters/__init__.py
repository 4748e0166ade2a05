"""PostgreSQL, Valkey, the object store, and the servers and processes that one machine runs by itself."""
