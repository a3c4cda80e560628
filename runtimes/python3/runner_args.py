"""Binds a job's arguments to the parameters of the script's function.

* Positional-or-keyword parameters get their argument by name; so do positional-only ones.
* Missing or null with a default: left out, so that the default applies. Missing without: None.
* Keyword-only parameters are never passed. `**kwargs` gets every argument no parameter declares.
* `bytes` is decoded from base64, `datetime` (by that bare name) from ISO 8601; `X | None` and
  Optional[X] count as X. There is no other coercion.

A plain function is read from its code object; inspect.signature, which is slow to import, serves
decorated functions, classes and other callables.
"""

import binascii
import sys

import runner_json

BIG_BYTES = 1 << 20
_VAR_KEYWORD = 0x08  # inspect.CO_VARKEYWORDS
_FUNCTION = type(lambda: None)
_NONE = type(None)
# Compiled late: few scripts need them, and all would wait for `re`.
_BASE64 = r"[A-Za-z0-9+/]*={0,2}"
_OPTIONAL = r"(?:typing\.)?Optional\[(.+)\]|(.+?)\s*\|\s*None|None\s*\|\s*(.+)"


class BadInput(Exception):
    """The arguments are not what the script's signature asks for."""


class Parameters:
    """What a function declares: names in order, defaults and annotations by name.

    `hidden` are the keyword-only names; `scope` is where the annotations were written.
    """

    def __init__(self, scope, annotations):
        self.positional_only = ()
        self.by_name = ()
        self.hidden = ()
        self.defaults = {}
        self.annotations = annotations
        self.scope = scope
        self.takes_rest = False


def read(path):
    """Return the arguments in a JSON file as a dict."""
    with open(path, "rb") as file:
        data = file.read()
    try:
        args = _loaded(data)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"the arguments cannot be read as JSON: {error}") from None
    if not isinstance(args, dict):
        raise BadInput("the arguments are not a JSON object")
    return args


def _loaded(data):
    """Decode JSON, of big arguments without the collector: looking for garbage in them takes half of the time.

    What they are made of is not looked through later either; it goes as soon as nothing refers to it.
    """
    if len(data) < BIG_BYTES:
        return runner_json.loads(data)
    import gc

    gc.disable()
    try:
        return runner_json.loads(data)
    finally:
        gc.freeze()
        gc.enable()


def bind(function, args):
    """Return (positional, named) with which to call the function."""
    declared = _from_code(function) or _from_signature(function)
    defaults = declared.defaults
    positional = [_value(declared, name, args, defaults.get(name)) for name in declared.positional_only]
    named = {}
    for name in declared.by_name:
        if args.get(name) is not None or name not in defaults:
            named[name] = _value(declared, name, args, None)
    if declared.takes_rest:
        known = {*declared.positional_only, *declared.by_name, *declared.hidden}
        named.update((name, value) for name, value in args.items() if name not in known)
    return positional, named


def _value(declared, name, args, otherwise):
    """The argument of that name as its annotation wants it, or `otherwise` if there is none."""
    value = args.get(name)
    if value is None:
        return otherwise
    convert = _converter(declared.annotations.get(name), declared.scope)
    if convert is None:
        return value
    if not isinstance(value, str):
        raise BadInput(f"argument `{name}` has to be a string")
    return convert(name, value)


def _from_code(function):
    """Parameters of a plain function, or None if it takes more to know them."""
    if type(function) is not _FUNCTION or function.__dict__:
        return None
    declared = Parameters(function.__globals__, function.__annotations__)
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    values = function.__defaults__ or ()
    declared.positional_only = names[: code.co_posonlyargcount]
    declared.by_name = names[code.co_posonlyargcount :]
    declared.hidden = code.co_varnames[len(names) : len(names) + code.co_kwonlyargcount]
    first_default = len(names) - len(values)
    declared.defaults = {names[first_default + i]: value for i, value in enumerate(values)}
    declared.takes_rest = bool(code.co_flags & _VAR_KEYWORD)
    return declared


def _from_signature(function):
    """Parameters of any callable; one that has no signature is called without arguments."""
    import inspect

    scope = getattr(inspect.unwrap(function), "__globals__", {})
    declared = Parameters(scope, {})
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return declared

    def names_of(kind):
        return [p.name for p in parameters if p.kind is kind]

    declared.positional_only = names_of(inspect.Parameter.POSITIONAL_ONLY)
    declared.by_name = names_of(inspect.Parameter.POSITIONAL_OR_KEYWORD)
    declared.hidden = names_of(inspect.Parameter.KEYWORD_ONLY)
    declared.takes_rest = bool(names_of(inspect.Parameter.VAR_KEYWORD))
    declared.defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    declared.annotations = {p.name: p.annotation for p in parameters}
    return declared


def _converter(annotation, scope):
    """The function that makes what the annotation names out of a string, or None."""
    if isinstance(annotation, str):
        optional = ("|" in annotation or "[" in annotation) and _match(_OPTIONAL, annotation.strip())
        name = next(filter(None, optional.groups())) if optional else annotation
        return {"bytes": _to_bytes, "datetime": _to_datetime}.get(name.strip())
    if annotation is bytes:
        return _to_bytes
    if _is_bare_datetime(annotation, scope):
        return _to_datetime
    if _is_union(annotation):
        kinds = [kind for kind in annotation.__args__ if kind is not _NONE]
        return _converter(kinds[0], scope) if len(kinds) == 1 else None
    return None


def _is_bare_datetime(annotation, scope):
    """Was this written `datetime`? `datetime.datetime` is the same class, but not converted."""
    known = getattr(sys.modules.get("datetime"), "datetime", None)
    return known is not None and annotation is known and scope.get("datetime") is known


def _is_union(annotation):
    origin = getattr(annotation, "__origin__", None)
    if origin is not None:
        return origin is getattr(sys.modules.get("typing"), "Union", None)
    return type(annotation).__name__ in ("UnionType", "Union")


def _to_bytes(name, text):
    """Decode base64 strictly; line breaks are the one thing MIME may have put into it."""
    text = "".join(text.split())
    try:
        if not _match(_BASE64, text):
            raise ValueError("it has characters that base64 does not have")
        return binascii.a2b_base64(text)
    except ValueError as error:
        raise BadInput(f"argument `{name}` is not base64: {error}") from None


def _match(pattern, text):
    import re

    return re.fullmatch(pattern, text)


def _to_datetime(name, text):
    import datetime

    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"argument `{name}` is not an ISO 8601 date: {error}") from None
