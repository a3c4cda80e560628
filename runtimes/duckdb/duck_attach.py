"""Puts connection strings in the place of `'$res:path'` in ATTACH statements."""

import os
import tempfile

from sqlrun import databases, lexer

CONNECT_S = 10
PORT = 5432
MARK = "'$res:"


def with_resources(text, dialect, args):
    """The text with each resource's connection string, and their passwords. Raises BadInput."""
    parts, at, secrets = [], 0, []
    for token in lexer.tokens(text, dialect):
        if token.kind == "quoted" and text.startswith(MARK, token.start):
            path = text[token.start + len(MARK) : token.end - 1]
            database = databases.resource(path, args)
            secrets.append(databases.text_of(database, "password", ""))
            literal = conninfo(database).replace("'", "''")
            parts += (text[at : token.start], f"'{literal}'")
            at = token.end
    return "".join((*parts, text[at:])), secrets


def conninfo(database):
    """libpq's connection string for a connection object. Raises BadInput naming the wrong field."""
    text_of = databases.text_of
    values = {
        "host": databases.host_of(database),
        "port": str(databases.port_of(database, PORT)),
        "user": text_of(database, "user"),
        "password": text_of(database, "password"),
        "dbname": text_of(database, "dbname"),
        "sslmode": text_of(database, "sslmode"),
        "sslrootcert": _file(text_of(database, "root_certificate_pem")),
        "connect_timeout": str(CONNECT_S),
    }
    return " ".join(f"{key}={_quoted(value)}" for key, value in values.items() if value is not None)


def _quoted(value):
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _file(pem):
    if pem is None:
        return None
    descriptor, path = tempfile.mkstemp(prefix="root-certificate-", suffix=".pem")
    with os.fdopen(descriptor, "w") as file:
        file.write(pem)
    return path
