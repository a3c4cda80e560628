# Makes, in the directory $1, an authority and a certificate of it for the address where the server is reached.
set -eu
mkdir -p "$1"
cd "$1"
{
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=test authority' \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign \
        -keyout ca.key -out ca.pem
    openssl req -newkey rsa:2048 -nodes -subj '/CN=test server' -keyout server.key -out server.csr
    printf 'subjectAltName=IP:%s,DNS:database.test\n' "$SERVER_ADDRESS" >names
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
        -extfile names -out server.pem
} 2>certificates.log || { cat certificates.log >&2; exit 1; }
