"""One machine runs it all: PostgreSQL, Valkey and Gallery's own processes, with one data directory."""
