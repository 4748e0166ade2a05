"""Everything on one machine: PostgreSQL, Valkey and Gallery's own processes, with one data directory."""
