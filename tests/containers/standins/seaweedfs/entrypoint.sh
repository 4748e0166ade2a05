#!/bin/sh
set -eu
exec /usr/bin/weed -logtostderr=true "$@"
