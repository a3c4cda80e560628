# Starts the server with one user, $SERVER_USER, and one database of that name.
set -eu
sh /server/certificates.sh /server/tls
chown -R mysql /server/tls
mkdir -p /run/mysqld
chown mysql /run/mysqld
mariadb-install-db --user=mysql --skip-test-db --auth-root-authentication-method=socket >/dev/null
mariadbd --user=mysql --bind-address=0.0.0.0 --skip-name-resolve --character-set-server=utf8mb4 \
    --ssl-cert=/server/tls/server.pem --ssl-key=/server/tls/server.key --ssl-ca=/server/tls/ca.pem \
    --innodb-flush-log-at-trx-commit=0 --max-allowed-packet=64M &
until mariadb-admin ping --silent 2>/dev/null; do sleep 0.1; done
mariadb <<SQL
CREATE DATABASE $SERVER_USER;
CREATE USER '$SERVER_USER'@'%' IDENTIFIED BY '$SERVER_PASSWORD';
GRANT ALL ON $SERVER_USER.* TO '$SERVER_USER'@'%';
SQL
touch /server/ready
wait
