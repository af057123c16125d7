#!/bin/sh
# Started as root, give the data to the server's user and go on as that; started as anybody else, go on.
set -e
if [ "$1" = redis-server ]; then
  set -- "$@" --port "$PORT" --dir /data --save "" --bind 127.0.0.1
  if [ "$(id -u)" = 0 ]; then
    find . \! -user redis -exec chown redis '{}' +
    set -- setpriv --reuid=redis --regid=redis --clear-groups -- "$@"
  fi
fi
exec "$@"
