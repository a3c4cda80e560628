"""What a script says about itself in comments: arguments, names to put in, database, result.

-- $1 name (type) = default          PostgreSQL
-- ? name (type) = default           MySQL, by position; or
-- :name (type) = default            MySQL, by name
-- $name (type) = default            DuckDB
-- %%name%% a/b                      a name that is put into the text
-- database f/folder/resource
-- result_collection=last_statement_first_row
"""

import re
from dataclasses import dataclass, field

from sqlrun.errors import BadInput
from sqlrun.lexer import comment_lines

_REST = r"(?: \((?P<type>[^()]+(?:\([^()]*\))?[\[\]]*)\))?(?: ?= ?(?P<default>.+))?"
_ARGUMENT = re.compile(
    rf"--[ \t]+(?:\$(?P<position>\d+) (?P<of_position>\w+)|\? (?P<next>\w+)|[:$](?P<name>[^\W\d]\w*)){_REST}"
)
_INTERPOLATION = re.compile(
    r"--\s*%%(?P<name>[A-Za-z_]\w*)%%[ \t]*(?P<values>\w[\w \t/.-]*?)?(?: ?= ?(?P<default>.+))?"
)
_DATABASE = re.compile(r"--[ \t]+database[ \t]+(?P<path>\S+)")
_COLLECTION = re.compile(r"--[ \t]+result_collection[ \t]*=[ \t]*(?P<name>\S*)")
_LAST = re.compile(r"--[ \t]+return_last_result")

COLLECTIONS = (
    *(
        f"{which}_{what}"
        for which in ("last_statement", "all_statements")
        for what in ("all_rows", "first_row", "all_rows_scalar", "first_row_scalar")
    ),
    "legacy",
)


@dataclass(frozen=True)
class Argument:
    """A declared argument: the placeholder's name or position, what the job calls it, type and default."""

    placeholder: str
    name: str
    type: str | None
    default: str | None


@dataclass(frozen=True)
class Interpolation:
    """A name to put into the text, with the values it may have (none: any that is an identifier)."""

    name: str
    values: tuple
    default: str | None


@dataclass
class Declarations:
    """All of a script's declarations; of two for one placeholder the later one counts."""

    arguments: dict = field(default_factory=dict)
    interpolations: dict = field(default_factory=dict)
    database: str | None = None
    collection: str = "last_statement_all_rows"


def read(text, dialect):
    """The declarations of a script. Raises BadInput for a result collection that does not exist."""
    found = Declarations()
    for line in comment_lines(text, dialect):
        if match := _ARGUMENT.fullmatch(line):
            argument = _argument(match, found)
            found.arguments[argument.placeholder] = argument
        elif match := _INTERPOLATION.fullmatch(line):
            values = tuple(value.strip() for value in (match["values"] or "").split("/") if value.strip())
            found.interpolations[match["name"]] = Interpolation(match["name"], values, match["default"])
        elif match := _DATABASE.fullmatch(line):
            found.database = match["path"]
        elif match := _COLLECTION.fullmatch(line):
            found.collection = _collection(match["name"])
        elif _LAST.fullmatch(line):
            found.collection = "last_statement_all_rows"
    return found


def _argument(match, found):
    if match["position"]:
        placeholder, name = str(int(match["position"])), match["of_position"]
    elif match["next"]:
        placeholder = "?" + str(sum(p.startswith("?") for p in found.arguments))
        name = match["next"]
    else:
        placeholder = name = match["name"]
    kind = match["type"] and " ".join(match["type"].split()).lower()
    return Argument(placeholder, name, kind, match["default"])


def _collection(name):
    if name not in COLLECTIONS:
        raise BadInput(
            f"result_collection: there is no {name!r} in `-- result_collection={name}`; "
            f"use one of {', '.join(COLLECTIONS)}"
        )
    return name
