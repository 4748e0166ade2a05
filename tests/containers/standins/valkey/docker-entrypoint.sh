#!/bin/sh
# As root gives the data to the user valkey, and goes on as that one. A container's server is reached from others.
set -eu
if [ "$(id -u)" = 0 ]; then
    chown -R valkey:valkey /data
    exec setpriv --reuid=valkey --regid=valkey --clear-groups -- "$0" "$@"
fi
exec "$@" --protected-mode no
