"""Runs one SQL script in a PostgreSQL database.

Statements go through the extended protocol, one at a time, outside a transaction unless the script
opens one; values travel apart from the text. Rows arrive in small lots and become JSON at once.
What the server says beside (RAISE NOTICE) goes to the log.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import pg_connect
import pg_values
from psycopg import pq
from sqlrun import databases, lexer, run
from sqlrun.collect import Rows
from sqlrun.errors import SqlError

ROWS_PER_LOT = 100
STOP_S = 2
UNKNOWN_TYPE = ("42P18", "42P08")
ROWS, NO_ROWS = pq.ExecStatus.TUPLES_OK, (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.EMPTY_QUERY)
LOTS = (pq.ExecStatus.TUPLES_CHUNK, pq.ExecStatus.SINGLE_TUPLE)
COPIES = (pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH)
Field = pq.DiagnosticField


class PostgreSQL:
    """The language: one connection, used by one statement at a time."""

    dialect = lexer.POSTGRESQL
    source = "main.sql"
    uses_defaults = False

    def __init__(self):
        self._connection = None
        self._secrets = ()
        self._types = {}
        self._text = ""

    def secrets(self):
        return self._secrets

    def prepare(self, declared, args, text):
        return text

    def connect(self, declared, args):
        database = databases.meant(declared, args)
        self._secrets = (databases.text_of(database, "password", ""),)
        self._connection = pg_connect.connect(database)
        self._connection.notice_handler = log_notice

    def execute(self, statement, arguments):
        """Send the statement with its values; give its rows as they come."""
        names = list(arguments)  # numbered anew: a statement may use the third argument only
        text = statement.filled(lambda place: f"${names.index(place.name) + 1}")
        texts, oids = [], []
        for name, (declared, value) in arguments.items():
            kind = pg_values.kind_of(statement, name, declared)
            texts.append(pg_values.text_in(declared.name if declared else name, kind, value))
            oids.append(0 if kind is None or kind.is_cast else self._oid(kind.name))
        inferred = [oid == 0 for oid in oids]
        try:
            first = self._start(text, texts, oids)
        except Refused as refused:
            if not any(inferred) or refused.details.get("sqlstate") not in UNKNOWN_TYPE:
                raise
            # Nothing tells the server what this value is, so it is text.
            retyped = [pg_values.TEXT_OID if oid == 0 else oid for oid in oids]
            first = self._start(text, texts, retyped)
        if first.status in NO_ROWS:
            self._drain()
            return None
        columns = [first.fname(n).decode() for n in range(first.nfields)]
        return Rows(columns, self._rows(first))

    def stop(self):
        """Have the server cancel what it does for us, and wait a moment until it has."""
        if self._connection is not None:
            pg_connect.cancel(self._connection, STOP_S)

    def close(self):
        if self._connection is not None:
            self._connection.finish()

    def _oid(self, name):
        """The type's number; the server is asked for one that it does not have from the beginning."""
        if name in pg_values.OIDS:
            return pg_values.OIDS[name]
        if name not in self._types:
            found = self._start("SELECT $1::regtype::oid::int8", [name.encode()], [0])
            self._types[name] = int(found.get_value(0, 0))
            self._drain()
        return self._types[name]

    def _start(self, text, values, oids):
        """Send one statement and give its first result. Raises Refused."""
        self._text = text
        self._connection.send_query_params(text.encode(), values, oids or None)
        self._connection.set_chunked_rows_mode(ROWS_PER_LOT)
        first = self._next()
        if first is None:
            raise SqlError("the server gave no result")
        return first

    def _next(self):
        """The next result, or None. Raises Refused if it is an error."""
        result = pg_connect.next_result(self._connection)
        if result is None or result.status in (*LOTS, ROWS, *NO_ROWS):
            return result
        if result.status in COPIES:
            self._connection.finish()
            raise SqlError("COPY … FROM STDIN and TO STDOUT have nothing here to read from or write to")
        refused = Refused(result, self._connection, self._text)
        if self._connection.status == pq.ConnStatus.OK:
            self._drain()
        raise refused

    def _drain(self):
        while pg_connect.next_result(self._connection) is not None:
            pass

    def _rows(self, result):
        convert = [pg_values.writer(result.ftype(n)) for n in range(result.nfields)]
        columns = range(result.nfields)
        while result is not None:
            for row in range(result.ntuples):
                values = (result.get_value(row, column) for column in columns)
                yield [
                    "null" if value is None else write(value.decode())
                    for write, value in zip(convert, values, strict=True)
                ]
            result = self._next()


class Refused(SqlError):
    """The server's error about the statement `text`, in its own words."""

    def __init__(self, result, connection, text):
        def said(field):
            return (result.error_field(field) or b"").decode("utf-8", "replace")

        primary, state = said(Field.MESSAGE_PRIMARY), said(Field.SQLSTATE)
        if not primary:  # libpq's own words: the connection was lost
            primary = connection.error_message.decode("utf-8", "replace").strip()
        lines = [f"{said(Field.SEVERITY) or 'ERROR'}: {primary}"]
        for title, field in (
            ("DETAIL", Field.MESSAGE_DETAIL), ("HINT", Field.MESSAGE_HINT), ("CONTEXT", Field.CONTEXT),
        ):  # fmt: skip
            if more := said(field):
                lines.append(f"{title}: {more}")
        if state:
            lines.append(f"SQLSTATE: {state}")
        before = text[: max(0, int(said(Field.STATEMENT_POSITION) or 0) - 1)]
        super().__init__("\n".join(lines), sqlstate=state or None, line_in_statement=before.count("\n") + 1)


def log_notice(result):
    """Write a notice to the log, as psql shows it."""
    severity = (result.error_field(Field.SEVERITY) or b"NOTICE").decode("utf-8", "replace")
    text = (result.error_field(Field.MESSAGE_PRIMARY) or b"").decode("utf-8", "replace")
    print(f"{severity}:  {text}", flush=True)


if __name__ == "__main__":
    run.main(PostgreSQL())
