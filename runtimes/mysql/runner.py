"""Runs one SQL script in a MySQL or MariaDB database.

Statements are sent one at a time, each committed by itself unless the script opens a transaction.
Their values are written into the text as literals, by the rules of the connection, where a
placeholder stands outside quotes and comments; the server takes one statement at a time only.
Rows are read as they come.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import my_connect
import my_values
import pymysql
from pymysql.cursors import SSCursor
from sqlrun import databases, lexer, run
from sqlrun.collect import Rows
from sqlrun.errors import BadInput

ROWS_PER_LOT = 100


class MySQL:
    """The language: one connection, used by one statement at a time."""

    dialect = lexer.MYSQL
    source = "main.sql"
    uses_defaults = False

    def __init__(self):
        self._database = None
        self._connection = None
        self._secrets = ()

    def secrets(self):
        return self._secrets

    def prepare(self, declared, args, text):
        return text

    def connect(self, declared, args):
        self._database = databases.meant(declared, args)
        self._secrets = (databases.text_of(self._database, "password", ""),)
        self._connection = my_connect.connect(self._database)
        if my_connect.ignores_backslashes(self._connection):
            self.dialect = lexer.mysql(backslash_escapes=False)

    def execute(self, statement, arguments):
        """Send the statement with its values; give its rows as they come."""
        text = statement.filled(lambda place: self._literal(place, *arguments[place.name]))
        cursor = self._connection.cursor(SSCursor)
        try:
            cursor.execute(text)
        except pymysql.Error as error:
            raise my_connect.refusal(error) from None
        if not cursor.description:
            self._finish(cursor)
            return None
        fields = cursor._result.fields  # cursor.description does not tell text from bytes
        return Rows([field.name for field in fields], self._rows(cursor, fields))

    def stop(self):
        """Have the server end the query that runs, over a connection of its own."""
        if self._connection is not None:
            my_connect.kill_query(self._database, self._connection.thread_id())

    def close(self):
        if self._connection is not None:
            self._connection.close()

    def _literal(self, place, declared, value):
        if declared is None:
            raise BadInput(
                f"the placeholder {_shown(place.name)} has no argument; declare it in a comment such as "
                f"`-- {'?' if place.name.startswith('?') else ':' + place.name} name (text)`"
            )
        return self._connection.escape(my_values.value_in(declared, value), pymysql.converters.encoders)

    def _rows(self, cursor, fields):
        convert = [my_values.writer(field) for field in fields]
        try:
            while rows := cursor.fetchmany(ROWS_PER_LOT):
                for row in rows:
                    yield [
                        "null" if value is None else write(value)
                        for write, value in zip(convert, row, strict=True)
                    ]
        except pymysql.Error as error:
            raise my_connect.refusal(error) from None
        self._finish(cursor)

    def _finish(self, cursor):
        """Read on past the other results that a CALL may give."""
        try:
            while cursor.nextset():
                pass
            cursor.close()
        except pymysql.Error as error:
            raise my_connect.refusal(error) from None


def _shown(placeholder):
    return f"number {int(placeholder[1:]) + 1}" if placeholder.startswith("?") else f":{placeholder}"


if __name__ == "__main__":
    run.main(MySQL())
