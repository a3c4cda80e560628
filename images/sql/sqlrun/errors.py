"""The two ways in which a SQL script fails by itself."""


class BadInput(Exception):
    """The arguments or the annotations are not what the script needs; the message says which and why."""


class SqlError(Exception):
    """The database refused; the message is complete, `details` is plain JSON for handlers."""

    def __init__(self, message, **details):
        super().__init__(message)
        self.details = {key: value for key, value in details.items() if value is not None}
