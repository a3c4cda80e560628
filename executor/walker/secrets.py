"""The secrets that the expressions of a run have read: from there on they may be in any step's arguments.

What is noted, in the run's journal and on the jobs of its steps, are references, never values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial
from urllib.parse import quote, unquote

from executor.jobs.redaction import Redactor
from executor.script import compact_json
from executor.walker.gathered import Gathered
from executor.workspace.library import Library

READ = "secret/"
"""What the journal has before a reference; places of the run begin with a slash."""


class RunSecrets:
    """`$var:PATH` and `$res:PATH` of one run, as far as they hold secrets; and masks for messages of its expressions."""

    def __init__(
        self, workspace_id: str, library: Library, gathered: Gathered, journal: Iterable[str]
    ) -> None:
        self._workspace_id = workspace_id
        self._library = library
        self._gathered = gathered
        self._read = {unquote(path.removeprefix(READ)) for path in journal if path.startswith(READ)}
        self._redactor = Redactor()
        self._untold: Collection[str] = set(self._read)
        """Read by an earlier walk, whose memory is gone."""

    @property
    def references(self) -> Collection[str]:
        """All that was read so far."""
        return self._read

    async def variable(self, path: str) -> bytes:
        """A variable's value as JSON, for an expression; raises NotStored."""
        secret = partial(self._note, f"$var:{path}")
        return compact_json(await self._library.variable(self._workspace_id, path, secret))

    async def resource(self, path: str) -> bytes:
        """A resource's value, for an expression; raises NotStored."""
        return await self._library.resource(self._workspace_id, path, partial(self._note, f"$res:{path}"))

    async def masked(self, message: str) -> str:
        """What a failed expression says, without the secrets that the run has read."""
        untold, self._untold = self._untold, set()
        await self._library.tell_secrets(self._workspace_id, untold, self._redactor.add)
        return self._redactor.whole(message)

    def _note(self, reference: str, value: str) -> None:
        self._redactor.add(value)
        if reference not in self._read:
            self._read.add(reference)
            self._gathered.note(READ + quote(reference, safe=""), b"")
