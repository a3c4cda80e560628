"""One job from top to bottom; what differs between databases is the `Language`.

    boot → job → declarations → statements → connection → rows → result

A language is an object with
    dialect, source    how its SQL is written; the script's file
    uses_defaults      whether a default in a comment stands for a missing argument
    prepare(declared, args, text)  anything to be done before the script is split; gives the text
    connect(declared, args)        opens the connection; may change `dialect`
    secrets()          texts that must not be shown, from `prepare` on
    execute(statement, arguments)  runs one statement; Rows, or None if it was no query
    close()            ends the connection
    stop()             ends what the server is doing for us, within seconds
"""

import json
import os
import signal
import sys
import traceback

from sqlrun import declarations, lexer, values
from sqlrun.collect import Collection
from sqlrun.errors import BadInput, SqlError
from sqlrun.handover import Handover, take_environment
from sqlrun.interpolation import interpolate
from sqlrun.redact import redacted

MESSAGE_CHARACTERS = 16 * 1024


def main(language):
    """Boot, wait for the job, run it, and end the process."""
    handover = Handover()
    handover.booted()
    take_environment()
    result = handover.result()
    try:
        run_script(language, result)
    except BaseException as error:
        # The next signal would interrupt the telling.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if isinstance(error, KeyboardInterrupt):
            language.stop()
        fail(handover, result, error, language.secrets())
    else:
        result.close()
        language.close()
        end(0)


def run_script(language, result):
    """Run every statement of the script; the result's text goes to `result`."""
    text, args = read_script(language.source), read_args("args.json")
    declared = declarations.read(text, language.dialect)
    text = interpolate(
        text, language.dialect, declared.interpolations, args, use_defaults=language.uses_defaults
    )
    text = language.prepare(declared, args, text)
    language.connect(declared, args)
    statements = lexer.statements(text, language.dialect)
    collection = Collection(declared.collection, len(statements), result)
    for number, statement in enumerate(numbered(statements), 1):
        arguments = values.bound(statement, declared.arguments, args, use_defaults=language.uses_defaults)
        try:
            rows = language.execute(statement, arguments)
            collection.add(rows)
        except SqlError as error:
            raise located(error, statement, number, len(statements)) from None
    collection.close()


def numbered(statements):
    """The statements with a name for each unnamed placeholder: `?0`, `?1`, … through the whole script."""
    count = 0
    for statement in statements:
        placeholders = []
        for placeholder in statement.placeholders:
            name = placeholder.name
            if name is None:
                name, count = f"?{count}", count + 1
            elif name.isdigit():
                name = str(int(name))
            placeholders.append(lexer.Placeholder(placeholder.start, placeholder.end, name))
        yield lexer.Statement(statement.text, statement.line, tuple(placeholders))


def located(error, statement, number, count):
    """The error with the place it happened at: the line in the script, and which statement."""
    line = statement.line + error.details.pop("line_in_statement", 1) - 1
    place = f"line {line}" if count == 1 else f"statement {number} of {count}, line {line}"
    said_so_far = str(error)
    whole = f"{said_so_far}\n({place})" if "\n" in said_so_far else f"{said_so_far} ({place})"
    return SqlError(whole, **{**error.details, "statement": number, "line": line})


def read_script(source):
    """The script's text."""
    with open(source, encoding="utf-8", errors="replace", newline="") as file:
        return file.read().removeprefix("\ufeff")


def read_args(path):
    """The job's arguments. Raises BadInput if they are no JSON object."""
    with open(path, "rb") as file:
        data = file.read()
    try:
        args = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"the arguments cannot be read as JSON: {error}") from None
    if not isinstance(args, dict):
        raise BadInput("the arguments are not a JSON object")
    return args


def fail(handover, result, error, secrets):
    """Tell the service and the log why the script failed, and end with 1."""
    reason = "bad_input" if isinstance(error, BadInput) else "script_error"
    details = error.details if isinstance(error, SqlError) else None
    message = redacted(said(error), secrets)[:MESSAGE_CHARACTERS]
    os.write(2, (message + "\n").encode("utf-8", "replace"))
    # Half a result that is out already cannot be taken back: then the log is what tells.
    if not result.is_under_way:
        handover.error(reason, message, details)
    end(1)


def said(error):
    """What to say about an error; one that is not the script's comes with our own trace."""
    if isinstance(error, BadInput | SqlError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "the script was interrupted"
    if isinstance(error, MemoryError):
        return "MemoryError: the script ran out of memory"
    # The lines of our code, never the values in it.
    trace = "".join(traceback.format_tb(error.__traceback__)[-3:])
    return f"{type(error).__name__}: {error}\n{trace}"


def end(status):
    """End the process at once; connections end with it."""
    sys.stdout.flush()
    os._exit(status)
