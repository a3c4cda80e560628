"""Runs one SQL script in a DuckDB database of its own, which is in memory and gone afterwards.

Files are read and written in the job's directory, in ./shared and in /tmp. PostgreSQL servers are
reached by ATTACH. The engine gets what the container has: memory, cores, room in /tmp.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import duck_attach
import duck_engine
import duck_values
import duckdb
from sqlrun import lexer, run
from sqlrun.collect import Rows
from sqlrun.errors import BadInput

ROWS_PER_LOT = 100


class DuckDB:
    """The language: one database, used by one statement at a time."""

    dialect = lexer.DUCKDB
    source = "main.sql"
    uses_defaults = True

    def __init__(self):
        self._connection = duck_engine.open_database()
        self._secrets = []

    def secrets(self):
        return self._secrets

    def prepare(self, declared, args, text):
        """Put connection strings in the place of the resources that ATTACH names."""
        if declared.database is not None:
            raise BadInput(
                "`-- database` is for PostgreSQL and MySQL; in DuckDB write "
                f"ATTACH '$res:{declared.database}' AS name (TYPE postgres)"
            )
        text, self._secrets = duck_attach.with_resources(text, self.dialect, args)
        return text

    def connect(self, declared, args):
        if zone := os.environ.get("TZ"):
            self._connection.execute(f"SET TimeZone = '{zone.replace(chr(39), '')}'")

    def execute(self, statement, arguments):
        """Run the statement with its values; give its rows as they come."""
        text = statement.filled(lambda place: duck_values.placeholder(place, *arguments[place.name]))
        given = {
            name: duck_values.value_in(name, declared, value) for name, (declared, value) in arguments.items()
        }
        try:
            self._connection.execute(text, given or None)
        except duckdb.Error as error:
            raise duck_engine.refusal(error, text) from None
        except RuntimeError as error:
            raise duck_engine.interruption(error) from None
        if not duck_engine.is_query(text, self._connection):
            return None
        columns = self._connection.description
        return Rows([column[0] for column in columns], self._rows(columns, text))

    def stop(self):
        self._connection.interrupt()

    def close(self):
        self._connection.close()

    def _rows(self, columns, text):
        convert = [duck_values.writer(str(column[1])) for column in columns]
        try:
            while rows := self._connection.fetchmany(ROWS_PER_LOT):
                for row in rows:
                    yield [
                        "null" if value is None else write(value)
                        for write, value in zip(convert, row, strict=True)
                    ]
        except duckdb.Error as error:
            raise duck_engine.refusal(error, text) from None
        except RuntimeError as error:
            raise duck_engine.interruption(error) from None


if __name__ == "__main__":
    run.main(DuckDB())
