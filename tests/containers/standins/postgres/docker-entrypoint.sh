#!/bin/bash
# As root gives the data to the user postgres and goes on as that one. Makes the database once: the password and the
# database that the environment names, then the scripts of /docker-entrypoint-initdb.d, while nothing listens yet.
set -euo pipefail
shopt -s nullglob
socket=$PGHOST  # where the official image's programs look by themselves

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA"
    chown -R postgres:postgres /var/lib/postgresql "$socket"
    chmod 700 "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --clear-groups -- "$0" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_PASSWORD:?}"
    initdb --username=postgres --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") --auth-local=trust \
        --auth-host=scram-sha-256 --set=listen_addresses='*' --set=unix_socket_directories="$socket"
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    pg_ctl -w -D "$PGDATA" -o "-c listen_addresses='' ${*:2}" start
    createdb --username=postgres "$POSTGRES_DB"
    for script in /docker-entrypoint-initdb.d/*.sh; do
        if [ -x "$script" ]; then "$script"; else . "$script"; fi
    done
    pg_ctl -w -D "$PGDATA" -m fast stop
fi
exec "$@"
