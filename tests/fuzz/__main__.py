"""How much of the parsers their tests reach: `python -m tests.fuzz` prints it, and fails below the floor."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import coverage
import pytest

ROOT = Path(__file__).parents[2]
PARSERS = (
    "executor/api/bigargs.py",
    "executor/flows/document/*.py",
    "executor/flows/expressions/paths.py",
    "executor/flows/files.py",
    "executor/flows/plain.py",
    "executor/flows/yaml12.py",
    "executor/reach.py",
    "executor/runtimes.py",
    "executor/sandbox/frames.py",
    "executor/sandbox/header.py",
    "executor/sandbox/references.py",
    "images/sql/sqlrun/declarations.py",
    "images/sql/sqlrun/lexer.py",
)
TESTS = (
    "tests/fuzz",
    "tests/flows/test_document.py",
    "tests/flows/test_files.py",
    "tests/flows/test_ids.py",
    "tests/flows/test_reading_anything.py",
    "tests/flows/test_refusals.py",
    "tests/unit/expressions/test_paths.py",
    "tests/unit/test_big_args.py",
    "tests/unit/test_frames.py",
    "tests/unit/test_header.py",
    "tests/unit/test_reach.py",
    "tests/unit/test_references.py",
    "tests/unit/test_runtimes.py",
    "tests/unit/test_sql_lexer.py",
    "tests/unit/test_sqlrun.py",
)
UNTIMED = "not fast and not takes_no_time and not under_a_second"
"""Counting lines makes everything slower."""
FLOOR = 97.0
"""Percent of lines and branches together."""


def main() -> int:
    """Run the tests under coverage of lines and branches; 0 if they pass and reach the floor."""
    measured = coverage.Coverage(
        data_file=None, branch=True, include=[str(ROOT / pattern) for pattern in PARSERS], config_file=False
    )
    measured.start()
    failed = pytest.main(
        ["-q", "-p", "no:cacheprovider", "-m", "not long and not engine", "-k", UNTIMED, *TESTS]
    )
    measured.stop()
    report = io.StringIO()
    share = measured.report(file=report, show_missing=True, skip_covered=False)
    sys.stdout.write(report.getvalue())
    sys.stdout.write(f"parsers: {share:.1f} % of lines and branches, at least {FLOOR:g} wanted\n")
    return int(failed) or int(share < FLOOR)


if __name__ == "__main__":
    sys.exit(main())
