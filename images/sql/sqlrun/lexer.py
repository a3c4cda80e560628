"""Reads SQL as far as it takes to find statements, parameters and comments.

A semicolon, a placeholder or `--` only counts outside quotes, dollar quotes and comments, and each
database has quotes of its own. What is left open at the end of the text ends there: the server
has better words for that than we.
"""

import re
from dataclasses import dataclass, field

# The body of a quoted text, up to and with its end; doubled quotes do not end it.
_PLAIN = r"[^{0}]*+(?:{0}{0}[^{0}]*+)*+(?:{0}|\Z)"
# The same where a backslash takes away what the next character means.
_ESCAPED = r"(?:[^{0}\\]++|\\.|{0}{0})*+(?:{0}|\\?\Z)"
_WORD = r"[^\W\d]\w*"
_BLOCK_EDGE = re.compile(r"/\*|\*/")


@dataclass(frozen=True)
class Dialect:
    """How a database writes quotes, comments and placeholders; `token` finds the next of them.

    Its groups: `line` and `block` (comments), `quoted`, `dollar` (the opening of a dollar quote),
    `end` (the semicolon), `placeholder` (with its name, or a position, in the group `name`).
    """

    title: str
    token: re.Pattern
    nested_comments: bool


def _dialect(title, quotes, placeholder, *, line=r"--[^\r\n]*", dollar=None, nested_comments=False):
    kinds = {"line": line, "block": r"/\*", "quoted": "|".join(quotes)}
    if dollar:
        kinds["dollar"] = dollar
    kinds |= {"placeholder": placeholder, "end": ";"}
    pattern = "|".join(f"(?P<{kind}>{how})" for kind, how in kinds.items())
    return Dialect(title, re.compile(pattern, re.DOTALL), nested_comments)


_DOLLAR_QUOTE = rf"(?<![\w$])\$(?:{_WORD})?\$"
# An escape string goes on after a line break: only the first piece has the E.
_ESCAPE_STRING = (
    rf"(?<![\w$])[eE]'{_ESCAPED.format(chr(39))}(?:[ \t\f]*[\r\n]\s*'{_ESCAPED.format(chr(39))})*"
)
_STANDARD = (_ESCAPE_STRING, "'" + _PLAIN.format("'"), '"' + _PLAIN.format('"'))

POSTGRESQL = _dialect(
    "PostgreSQL", _STANDARD, r"(?<![\w$])\$(?P<name>\d+)", dollar=_DOLLAR_QUOTE, nested_comments=True
)
DUCKDB = _dialect(
    "DuckDB", _STANDARD, r"(?<![\w$])\$(?P<name>\w+)", dollar=_DOLLAR_QUOTE, nested_comments=True
)


def mysql(*, backslash_escapes=True):
    """MySQL's dialect; the server's mode NO_BACKSLASH_ESCAPES makes a backslash an ordinary character."""
    body = _ESCAPED if backslash_escapes else _PLAIN
    return _dialect(
        "MySQL",
        ("'" + body.format("'"), '"' + body.format('"'), "`" + _PLAIN.format("`")),
        rf"\?|(?<![\w:]):(?P<name>{_WORD})",
        line=r"#[^\n]*|--(?=\s|\Z)[^\n]*",
    )


MYSQL = mysql()


@dataclass(frozen=True)
class Placeholder:
    """A place for a value in a statement's text; `name` is None for MySQL's `?`."""

    start: int
    end: int
    name: str | None


@dataclass(frozen=True)
class Statement:
    """One statement: its text without the semicolon, the line it begins in, its placeholders."""

    text: str
    line: int
    placeholders: tuple = ()

    def filled(self, give):
        """The text with each placeholder replaced by `give(placeholder)`."""
        parts, at = [], 0
        for placeholder in self.placeholders:
            parts += (self.text[at : placeholder.start], give(placeholder))
            at = placeholder.end
        return "".join((*parts, self.text[at:]))


@dataclass(frozen=True)
class Token:
    """A piece of SQL that matters; all between two of them is plain code."""

    kind: str
    start: int
    end: int
    name: str | None = None


def tokens(text, dialect):
    """Yield the comments, quoted texts, placeholders and semicolons of `text`, in order."""
    at = 0
    while match := dialect.token.search(text, at):
        kind, at = match.lastgroup, match.end()
        if match["placeholder"]:
            yield Token("placeholder", match.start(), at, match["name"])
            continue
        if kind == "block":
            at = _block_end(text, at, dialect.nested_comments)
        elif kind == "dollar":
            closing = text.find(match[0], at)
            at = len(text) if closing < 0 else closing + len(match[0])
        yield Token(kind, match.start(), at)


def _block_end(text, at, nested):
    depth = 1
    while depth:
        edge = _BLOCK_EDGE.search(text, at)
        if edge is None:
            return len(text)
        at = edge.end()
        if edge[0] == "*/":
            depth -= 1
        elif nested:
            depth += 1
    return at


@dataclass
class _Open:
    """A statement that is being read."""

    start: int
    placeholders: list = field(default_factory=list)
    hidden: list = field(default_factory=list)  # comments

    def closed(self, text, end):
        """The statement, without what surrounds its code; None if there is no code in it."""
        start = self._first_code(text, end)
        if start is None:
            return None
        return Statement(
            text[start:end].rstrip(),
            text.count("\n", 0, start) + 1,
            tuple(Placeholder(p.start - start, p.end - start, p.name) for p in self.placeholders),
        )

    def _first_code(self, text, end):
        at = self.start
        for comment in (*self.hidden, None):
            stop = end if comment is None else comment.start
            code = text[at:stop]
            if stripped := code.lstrip():
                return at + len(code) - len(stripped)
            if comment is not None:
                at = comment.end
        return None


def statements(text, dialect):
    """The statements of a script; what holds nothing but comments is none."""
    found, current = [], _Open(0)
    for token in tokens(text, dialect):
        if token.kind == "end":
            found.append(current.closed(text, token.start))
            current = _Open(token.end)
        elif token.kind == "placeholder":
            current.placeholders.append(token)
        # A comment that the server executes is code.
        elif token.kind in ("line", "block") and not text.startswith("/*!", token.start):
            current.hidden.append(token)
    found.append(current.closed(text, len(text)))
    return [statement for statement in found if statement is not None]


def comment_lines(text, dialect):
    """Yield the `--` comments that have a line to themselves, without their line breaks."""
    for token in tokens(text, dialect):
        if token.kind == "line" and not text[text.rfind("\n", 0, token.start) + 1 : token.start].strip():
            yield text[token.start : token.end].rstrip()
