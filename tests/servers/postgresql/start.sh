# Starts the server with one user, $SERVER_USER, and one database of that name.
set -eu
sh /server/certificates.sh /server/tls
chown -R postgres /server/tls
chmod 0600 /server/tls/server.key
bin=$(ls -d /usr/lib/postgresql/*/bin)
data=/var/lib/postgresql/test
mkdir -p "$data"
chown postgres "$data"
as_postgres() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
as_postgres "$bin/initdb" --auth-local trust --auth-host scram-sha-256 --encoding UTF8 --no-sync "$data" >/dev/null
echo 'host all all all scram-sha-256' >>"$data/pg_hba.conf"
# No autovacuum: it is the superuser's, and DROP DATABASE ... WITH (FORCE) by another role fails beside it.
serve() {  # again and again: it may be killed, and stays away while /server/gone is there
    while :; do
        as_postgres "$bin/postgres" -D "$data" -c listen_addresses='*' -c fsync=off -c ssl=on \
            -c ssl_cert_file=/server/tls/server.pem -c ssl_key_file=/server/tls/server.key \
            -c log_connections=on -c autovacuum=off || true
        while [ -e /server/gone ]; do sleep 0.1; done
    done
}
serve &
until as_postgres "$bin/pg_isready" --quiet; do sleep 0.1; done
psql -q -U postgres -v password="$SERVER_PASSWORD" -v name="$SERVER_USER" <<'SQL'
CREATE ROLE :"name" LOGIN CREATEDB PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
SQL
touch /server/ready
wait
