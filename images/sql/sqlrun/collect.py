"""Gathers the statements' rows into the script's result, as `result_collection` asks.

Rows come one by one and become JSON text at once; what is not asked for is read and dropped.
"""

from sqlrun.values import quoted


class Rows:
    """The rows of one statement: column names, and each row as a list of JSON texts."""

    def __init__(self, columns, rows):
        self.columns = columns
        self.rows = rows


class Collection:
    """A result that grows by a statement at a time, written to `out` as JSON text."""

    def __init__(self, name, statements, out):
        self._is_legacy = name == "legacy"
        self._of_all = name.startswith("all_statements") or (self._is_legacy and statements > 1)
        self._first_only = "_first_row" in name
        self._scalar = name.endswith("_scalar")
        self._statements = statements
        self._done = 0
        self._write = out.write
        if self._of_all:
            self._write("[")
        elif not statements:
            self._add(None)

    def wants_next(self):
        """Whether the next statement's rows are in the result."""
        return self._of_all or self._done + 1 == self._statements

    def add(self, rows):
        """Take the rows of the next statement; None: it was no query."""
        if self.wants_next():
            if self._of_all and self._done:
                self._write(",")
            self._add(rows)
        elif rows is not None:
            for _ in rows.rows:
                pass
        self._done += 1

    def close(self):
        """All statements are through."""
        if self._of_all:
            self._write("]")

    def _add(self, rows):
        texts = iter(()) if rows is None else self._texts(rows)
        if self._first_only:
            self._write(next(texts, "null"))
            for _ in texts:
                pass
            return
        self._write("[")
        separator = ""
        for text in texts:
            self._write(separator + text)
            separator = ","
        self._write("]")

    def _texts(self, rows):
        """Each row as JSON text: an object, or its first value."""
        if self._scalar:
            return (row[0] if row else "null" for row in rows.rows)
        last = {name: number for number, name in enumerate(rows.columns)}  # of columns with one name
        order = sorted(last.values())
        keys = [quoted(rows.columns[number]) + ":" for number in order]
        if len(order) == len(rows.columns):
            return ("{" + ",".join(map(str.__add__, keys, row)) + "}" for row in rows.rows)
        return (
            "{" + ",".join(k + row[n] for k, n in zip(keys, order, strict=True)) + "}" for row in rows.rows
        )
