#!/bin/sh
# In the foreground, with a master process.
set -eu
shift
exec /usr/sbin/haproxy -W -db "$@"
