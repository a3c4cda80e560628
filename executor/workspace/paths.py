"""Paths, the names of everything stored in a workspace: `u/USER/…`, `f/FOLDER/…`, `g/GROUP/…`."""

from __future__ import annotations

import re

from executor.errors import BadInput

PATH = re.compile(r"[ufg](?:/[\w-]+){2,}")
PATH_CHARS_MAX = 255
SHOWN_CHARS_MAX = 100


def check_path(path: str, field: str = "path") -> str:
    """The path itself; raises BadInput naming `field` if nothing can be stored there."""
    if len(path) > PATH_CHARS_MAX or not PATH.fullmatch(path):
        raise BadInput(
            f"{field}: {path[:SHOWN_CHARS_MAX]!r} is no path",
            field=field,
            remedy=f"write u/USER/NAME or f/FOLDER/NAME: letters, digits, - and _, at most {PATH_CHARS_MAX}",
        )
    return path
