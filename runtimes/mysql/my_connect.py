"""Connects to a MySQL or MariaDB server, puts its errors into words, and ends its queries."""

import ssl

import pymysql
from pymysql.constants import CLIENT, SERVER_STATUS
from sqlrun import databases
from sqlrun.errors import BadInput, SqlError

CONNECT_S = 10
KILL_S = 2
PORT = 3306
# Errors of the driver's own: the server did not say them.
NO_CONNECTION, CONNECTION_LOST = 2003, (2006, 2013)
_raise_plainly = pymysql.err.raise_mysql_exception


def _raise_with_state(data):
    """Raise the server's error with its SQLSTATE, which the driver drops."""
    try:
        _raise_plainly(data)
    except pymysql.Error as error:
        if data[3:4] == b"#":
            error.sqlstate = data[4:9].decode("ascii", "replace")
        raise


pymysql.err.raise_mysql_exception = _raise_with_state


class Connection(pymysql.connections.Connection):
    """A connection that does not go on in the clear where TLS was asked for."""

    def _request_authentication(self):
        if self.ssl and not self.server_capabilities & CLIENT.SSL:
            raise pymysql.OperationalError(2026, "the server has no TLS, which database.ssl asks for")
        super()._request_authentication()


def connect(database, timeout_s=CONNECT_S):
    """A connection to the server that the object describes. Raises BadInput and SqlError."""
    text_of = databases.text_of
    host, port = databases.host_of(database), databases.port_of(database, PORT)
    context = _tls(database)
    try:
        connection = Connection(
            host=host,
            port=port,
            user=text_of(database, "user", ""),
            password=text_of(database, "password", ""),
            database=text_of(database, "database"),
            charset="utf8mb4",
            connect_timeout=timeout_s,
            # The driver's own limit ends with the TCP connection; a server may still say nothing.
            read_timeout=timeout_s,
            write_timeout=timeout_s,
            ssl=context,
            ssl_disabled=context is None,
            autocommit=True,
            conv=pymysql.converters.encoders,  # values are read by my_values
            binary_prefix=True,
            program_name="executor",
        )
    except pymysql.Error as error:
        if error.args[0] in (NO_CONNECTION, *CONNECTION_LOST):
            cause = getattr(error, "original_exception", None) or error.args[1]
            raise SqlError(f"cannot connect to {host}:{port}: {_cause(cause, timeout_s)}") from None
        raise refusal(error, "cannot connect: ") from None
    except (OSError, UnicodeError) as error:
        raise SqlError(f"cannot connect to {host}:{port}: {error}") from None
    connection._read_timeout = connection._write_timeout = None  # a query may take its time
    connection._sock.settimeout(None)
    return connection


def _cause(cause, timeout_s):
    """Why there is no connection, in words."""
    if isinstance(cause, TimeoutError) or "timed out" in str(cause):
        return f"no answer within {timeout_s} s; check host, port, and that this workspace may reach it"
    return cause


def _tls(database):
    """How to use TLS, None for not at all: `ssl` alone encrypts, a root certificate also verifies."""
    wanted = database.get("ssl")
    if wanted not in (None, True, False):
        raise BadInput(f"database.ssl is {wanted!r}; give true or false")
    pem = databases.text_of(database, "root_certificate_pem")
    if not wanted:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if pem is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        context.load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise BadInput("database.root_certificate_pem is no certificate; give it in PEM form") from None
    return context


def ignores_backslashes(connection):
    """Whether a backslash is an ordinary character on this server."""
    return bool(connection.server_status & SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES)


def kill_query(database, thread):
    """End the query of another connection of ours; if that fails, so be it: the server notices us gone."""
    try:
        connection = connect(database, KILL_S)
        connection.query(f"KILL QUERY {int(thread)}")
        connection.close()
    except (SqlError, pymysql.Error, OSError):
        pass


def refusal(error, before=""):
    """The error in the server's words, as its own client would show it."""
    number, text = (*error.args, "", "")[:2]
    if number in CONNECTION_LOST:
        return SqlError(f"the connection was lost: {text}", errno=number)
    state = getattr(error, "sqlstate", None)
    shown = f"ERROR {number} ({state}): {text}" if state else f"ERROR {number}: {text}"
    return SqlError(before + shown, errno=number or None, sqlstate=state)
