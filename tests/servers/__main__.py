"""`python -m tests.servers COMMAND…`: run a command beside a PostgreSQL and a MariaDB server.

The command gets `--connection LANGUAGE=FILE` for each; the files, which only their owner can read, hold
the servers' connection objects. Both servers are gone afterwards. Exit status: the command's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.runtimes.bench import SERVER_OF, Servers


def main() -> None:
    """Start the servers, run the command line's command, remove them."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="executor-servers-")))
        servers, options = Servers(stack), list[str]()
        for language, kind in SERVER_OF.items():
            print(f"› starting a {kind} server for the {language} example", flush=True)
            server = servers.of(language)
            if server is None:
                raise AssertionError(f"BUG: {language} has no server")
            file = folder / f"{language}.json"
            file.write_text(json.dumps(server.connection()), "utf-8")
            options.append(f"--connection={language}={file}")
        done = subprocess.run([*sys.argv[1:], *options], check=False)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
