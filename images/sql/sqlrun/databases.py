"""Finds the connection object that a script means.

It is the argument `database`, or the resource that the script names, which wins. The service
resolves `$res:path` in arguments before they come here; resources that the script's own text names
it hands over in the reserved argument `_RESOURCES`, an object from path to value. This module is
the only one that looks there.
"""

import re

from sqlrun.errors import BadInput

RESOURCES = "_RESOURCES"
RESERVED = frozenset(["database", RESOURCES, "_ENTRYPOINT_OVERRIDE"])
HOST = re.compile(r"[^\s\x00]+")
PORT_MAX = 65535


def meant(declared, args):
    """The connection object of a job. Raises BadInput: there is none, or it is no object."""
    if declared.database is not None:
        return resource(declared.database, args)
    database = args.get("database")
    if isinstance(database, str) and database.startswith("$res:"):
        return resource(database.removeprefix("$res:"), args)
    if database is None:
        raise BadInput("argument `database` is missing; give an object with host, port, user, password, …")
    if not isinstance(database, dict):
        raise BadInput(
            f"argument `database` is {_kind(database)}; give an object with host, port, user, password, …"
        )
    return database


def resource(path, args):
    """The value of the resource at `path`. Raises BadInput if the service handed none over."""
    resources = args.get(RESOURCES)
    value = resources.get(path) if isinstance(resources, dict) else None
    if value is None:
        raise BadInput(f"resource {path!r} not found; create it, or give the script the connection itself")
    if not isinstance(value, dict):
        raise BadInput(
            f"resource {path!r} is {_kind(value)}; it has to be an object with host, port, user, …"
        )
    return value


def text_of(database, key, default=None):
    """A text in a connection object; None and "" count as missing. Raises BadInput for another type."""
    value = database.get(key)
    if value is None or value == "":
        return default
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadInput(f"database.{key} is {_kind(value)}; give a string")
    if "\0" in str(value):
        raise BadInput(f"database.{key} holds a NUL character; leave it out")
    return str(value)


def host_of(database):
    """The host. Raises BadInput if there is none."""
    host = text_of(database, "host")
    if host is None:
        raise BadInput("database.host is missing; give the server's name or address")
    return host


def port_of(database, default):
    """The port. Raises BadInput for what is no port."""
    text = text_of(database, "port", str(default))
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= PORT_MAX):
        raise BadInput(f"database.port: {text!r} is no port; give a number from 1 to {PORT_MAX}")
    return int(text)


def _kind(value):
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "a string", list: "an array"}
    return kinds.get(type(value), type(value).__name__)
