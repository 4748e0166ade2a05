#!/bin/sh
# Runs once, when the database is created: Gallery owns it and is not a superuser.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$DATABASE_PASSWORD" --username postgres --dbname image_gallery <<'SQL'
CREATE ROLE gallery LOGIN PASSWORD :'password';
ALTER DATABASE image_gallery OWNER TO gallery;
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
GRANT pg_read_all_stats TO gallery;
SQL
