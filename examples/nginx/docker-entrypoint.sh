#!/bin/sh
# Write the configuration as the environment says, and go on as the command.
set -eu
sed -e "s|@PORT@|$PORT|" -e "s|@GREETING@|$GREETING|" /etc/nginx/templates/site.conf >/etc/nginx/conf.d/site.conf
exec "$@"
