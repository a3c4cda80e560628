"""Puts names (of tables, columns) into a script's text, where no parameter can stand.

Only a value that the script lists, or, if it lists none, a plain identifier gets in.
"""

import re

from sqlrun.errors import BadInput
from sqlrun.lexer import tokens

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def interpolate(text, dialect, declared, args, *, use_defaults):
    """The text with every declared `%%name%%` outside comments replaced by its argument. Raises BadInput."""
    if not declared:
        return text
    values = {name: _value(how, args, use_defaults) for name, how in declared.items()}
    pattern = re.compile(f"%%({'|'.join(map(re.escape, values))})%%")
    parts, at = [], 0
    for token in tokens(text, dialect):
        if token.kind == "line":
            parts += (
                pattern.sub(lambda m: values[m[1]], text[at : token.start]),
                text[token.start : token.end],
            )
            at = token.end
    return "".join((*parts, pattern.sub(lambda m: values[m[1]], text[at:])))


def _value(how, args, use_defaults):
    value = args.get(how.name)
    if value is None and use_defaults:
        value = how.default
    if not isinstance(value, str) or not value:
        raise BadInput(
            f"argument `{how.name}`: {_shown(value)} cannot stand for %%{how.name}%%; give a string"
        )
    if how.values:
        if value not in how.values:
            raise BadInput(
                f"argument `{how.name}`: {_shown(value)} is none of the values that the script allows "
                f"for %%{how.name}%%; give one of {', '.join(how.values)}"
            )
    elif not _IDENTIFIER.fullmatch(value):
        raise BadInput(
            f"argument `{how.name}`: {_shown(value)} is no identifier, so it cannot stand for "
            f"%%{how.name}%%; use letters, digits and _ only, a digit not first"
        )
    return value


def _shown(value):
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:80] + "…"
