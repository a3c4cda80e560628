"""JSON by the functions in C that the json package is made around.

Importing the package takes longer than everything else here together, because it needs regular
expressions, and those need enums. A Python that has no such functions, or others than these, gets the
package.
"""

try:
    from _json import encode_basestring_ascii, make_encoder, make_scanner
except ImportError:
    make_scanner = make_encoder = None

SEPARATORS = (":", ",")
SPACE = " \t\n\r"
_CONSTANTS = {"-Infinity": float("-inf"), "Infinity": float("inf"), "NaN": float("nan")}


class _Rules:
    """How the scanner reads, in the words that json.JSONDecoder has for it."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = _CONSTANTS.__getitem__


def loads(data):
    """Return what a JSON document in UTF-8 says; raises ValueError, RecursionError."""
    text = data.decode("utf-8", "surrogatepass")
    if make_scanner is None:
        return _package().loads(text)
    start = len(text) - len(text.lstrip(SPACE))
    try:
        value, end = make_scanner(_Rules)(text, start)
    except StopIteration as stopped:
        raise ValueError(f"a value is expected at character {stopped.value}") from None
    if text[end:].strip(SPACE):
        raise ValueError(f"there is more after the value, at character {end}")
    return value


def encoder(default=None, allow_nan=True):
    """Return a function that makes compact ASCII JSON; see json.JSONEncoder for what it takes and raises."""
    if make_encoder is None:
        return (
            _package().JSONEncoder(default=default, allow_nan=allow_nan, separators=SEPARATORS[::-1]).encode
        )

    def encode(value):
        if isinstance(value, str):
            return encode_basestring_ascii(value)
        make = make_encoder(
            {}, default or _refuse, encode_basestring_ascii, None, *SEPARATORS, False, False, allow_nan
        )
        return "".join(make(value, 0))

    return encode


def is_ours(file):
    """Is this the source of what encodes, rather than of something that is encoded?"""
    return file == __file__ or (make_encoder is None and file == _package().encoder.__file__)


def _refuse(value):
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _package():
    import json

    return json
