"""The services that Gallery uses: PostgreSQL, Valkey and the object store."""
