"""Connects to a PostgreSQL server, waits for it, and cancels what it does.

libpq is used without its blocking calls, so that every wait has an end and a signal gets through.
"""

import os
import select
import tempfile
import time

from psycopg import OperationalError, pq
from psycopg.conninfo import make_conninfo
from sqlrun import databases
from sqlrun.errors import BadInput, SqlError

CONNECT_S = 10
PORT = 5432
MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
CHECK_MS = 1000
"""How often the server looks, during a query, whether we are still there."""
CHECK_SINCE = 140000
SYSTEM_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def connect(database):
    """A connection to the server that the object describes. Raises BadInput and SqlError."""
    connection = pq.PGconn.connect_start(conninfo(database).encode())
    _await_connection(connection, database)
    _settle(connection)
    connection.nonblocking = 1
    return connection


def conninfo(database):
    """libpq's connection string. Raises BadInput naming the field that is wrong."""
    text_of = databases.text_of
    mode = text_of(database, "sslmode")
    if mode is not None and mode not in MODES:
        raise BadInput(f"database.sslmode: there is no {mode!r}; use one of {', '.join(MODES)}")
    return make_conninfo(
        host=databases.host_of(database),
        port=databases.port_of(database, PORT),
        user=text_of(database, "user"),
        password=text_of(database, "password"),
        dbname=text_of(database, "dbname"),
        sslmode=mode,
        sslrootcert=_root_certificate(text_of(database, "root_certificate_pem"), mode),
        client_encoding="UTF8",
        application_name="executor",
        # Nothing of this container's could be meant.
        passfile=os.devnull,
        sslcert=os.devnull + "/none",
        gssencmode="disable",
        tcp_user_timeout=60_000,
        keepalives_idle=30,
    )


def _root_certificate(pem, mode):
    """The file with the authority that signs servers' certificates; None leaves it to libpq."""
    if pem is None:
        return SYSTEM_CERTIFICATES if mode in ("verify-ca", "verify-full") else os.devnull + "/none"
    if "-----BEGIN CERTIFICATE-----" not in pem:
        raise BadInput("database.root_certificate_pem is no certificate; give it in PEM form")
    descriptor, path = tempfile.mkstemp(prefix="root-certificate-", suffix=".pem")
    with os.fdopen(descriptor, "w") as file:
        file.write(pem)
    return path


def _await_connection(connection, database):
    """Go on until the server has let us in. Raises SqlError if it does not, or not in time."""
    deadline = time.monotonic() + CONNECT_S
    status = pq.PollingStatus.WRITING
    while connection.status != pq.ConnStatus.BAD:
        if not _wait(connection, status, deadline):
            raise SqlError(
                f"cannot connect to {databases.host_of(database)}:{databases.port_of(database, PORT)}: "
                f"no answer within {CONNECT_S} s; check host, port, and that this workspace may reach it"
            )
        status = connection.connect_poll()
        if status == pq.PollingStatus.OK:
            return
        if status == pq.PollingStatus.FAILED:
            break
    # With sslmode prefer libpq tries twice, and may be refused twice with the same words.
    lines = dict.fromkeys(connection.error_message.decode("utf-8", "replace").strip().split("\n"))
    raise SqlError("cannot connect: " + "\n".join(lines))


def _wait(connection, status, deadline):
    """Wait until the socket is ready for what libpq wants next; False at the deadline."""
    left = max(0, deadline - time.monotonic())
    socket = [connection.socket]
    if status == pq.PollingStatus.READING:
        return any(select.select(socket, [], [], left))
    return any(select.select([], socket, [], left))


def _settle(connection):
    """Make the session speak the way we read, and notice when we are gone."""
    wanted = {b"DateStyle": "ISO, MDY", b"standard_conforming_strings": "on", b"IntervalStyle": "postgres"}
    settings = [
        f"SET {name.decode()} = {value}"
        for name, value in wanted.items()
        if not (connection.parameter_status(name) or b"").startswith(value.split(",")[0].encode())
    ]
    settings.append("SET bytea_output = hex")
    if connection.server_version >= CHECK_SINCE:
        settings.append(f"SET client_connection_check_interval = {CHECK_MS}")
    for setting in settings:  # a server that does not know one of them is still of use
        connection.exec_(setting.encode())


def next_result(connection):
    """The next result of the query that was sent, None after the last."""
    while True:
        unsent = connection.flush()
        if not unsent and not connection.is_busy():
            return connection.get_result()
        socket = [connection.socket]
        readable, _, _ = select.select(socket, socket if unsent else [], [])
        if readable:
            _take_in(connection)


def _take_in(connection):
    """Read what the server sent. Raises SqlError if the connection is gone without a word."""
    try:
        connection.consume_input()
    except OperationalError:
        last = connection.get_result()  # the server's farewell, if it got through
        message = (last and last.error_message) or connection.error_message
        raise SqlError(f"the connection was lost: {message.decode('utf-8', 'replace').strip()}") from None


def cancel(connection, within_s):
    """Have the server end the query that runs, and wait until it has, `within_s` seconds at most."""
    if connection.transaction_status != pq.TransactionStatus.ACTIVE:
        return
    deadline = time.monotonic() + within_s
    cancelling = connection.cancel_conn()
    cancelling.start()
    while (status := cancelling.poll()) not in (pq.PollingStatus.OK, pq.PollingStatus.FAILED):
        if not _wait(cancelling, status, deadline):
            return
    while connection.is_busy() and time.monotonic() < deadline:
        if select.select([connection.socket], [], [], deadline - time.monotonic())[0]:
            connection.consume_input()
