"""JavaScript expressions of flows, evaluated by quickjs-ng in killable child processes.

    places.py     which names an expression sees, by the place it stands in
    scope.py      where their values come from, and how an evaluation fails
    paths.py      plain property paths, answered without JavaScript
    pool.py       `Expressions`: what the walk calls
    process.py    one child process, seen from the service
    frames.py     what travels between the two
    child.py      the child's program: its limits, its loop
    evaluation.py one expression in a JavaScript context of its own
    prelude.js    the names and the encoding of the result, on the JavaScript side

This module imports nothing, because every child process starts with it.
"""
