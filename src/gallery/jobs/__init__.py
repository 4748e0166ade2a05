"""The job queue in Valkey, its workers, and the registry of workers in the database."""
