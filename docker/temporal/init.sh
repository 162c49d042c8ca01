#!/bin/sh
# Make the role, the database and the cell, each unless it exists.
set -eu

administer() { psql --no-psqlrc --quiet --tuples-only --no-align --host=/var/run/postgresql --username=postgres "$@"; }

if [ -z "$(administer --command="SELECT 1 FROM pg_roles WHERE rolname = 'strongroom'")" ]; then
    administer --set=password="$DATABASE_PASSWORD" <<'SQL'
CREATE ROLE strongroom LOGIN PASSWORD :'password';
SQL
fi
if [ -z "$(administer --command="SELECT 1 FROM pg_database WHERE datname = 'strongroom'")" ]; then
    administer --command="CREATE DATABASE strongroom OWNER strongroom"
fi
if [ -e "$STRONGROOM_CONFIG" ]; then
    strongroom init
else
    strongroom init --shards 512 --dsn "postgresql://strongroom:$DATABASE_PASSWORD@/strongroom?host=/var/run/postgresql"
fi
grep --quiet '^\[serve\]' "$STRONGROOM_CONFIG" || cat /usr/local/share/strongroom/serve.toml >> "$STRONGROOM_CONFIG"
