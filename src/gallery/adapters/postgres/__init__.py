"""PostgreSQL: connections, replicas, migrations, dumps."""
