"""What is known of a running job in this process before, or without, being stored.

A script's output is told to those who listen at once and stored a moment later, many pieces in one
transaction. A reader sees the stored part and the part on its way as one text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy import Connection

from executor import telemetry
from executor.errors import Unavailable
from executor.jobs import store
from executor.jobs.job import Job, OutputKind
from executor.jobs.redaction import Redactor
from executor.script import Isolation
from executor.storage.database import Database

FLUSH_S = 0.2
FLUSH_CHARS = 256 * 1024
RETRY_S = 1.0


@dataclass
class Text:
    """A growing text: `stored` characters are in the database, `waiting` follow them."""

    stored: int = 0
    waiting: list[str] = field(default_factory=list)
    waiting_chars: int = 0

    @property
    def length(self) -> int:
        """All characters so far."""
        return self.stored + self.waiting_chars

    def add(self, text: str) -> None:
        """Append; NUL, which a database text cannot hold everywhere, becomes U+FFFD."""
        self.waiting.append(text.replace("\0", "\ufffd"))
        self.waiting_chars += len(text)

    def take(self) -> str:
        """What is to be stored next; `taken` says when it is."""
        return "".join(self.waiting)

    def taken(self, text: str) -> None:
        """`text`, which `take` gave, is stored now."""
        rest = "".join(self.waiting)[len(text) :]
        self.waiting = [rest] if rest else []
        self.waiting_chars = len(rest)
        self.stored += len(text)


@dataclass(frozen=True)
class Piece:
    """A part of a job's output and the place where it belongs."""

    kind: OutputKind
    position: int
    text: str


def append(connection: Connection, job_id: str, pieces: list[Piece]) -> None:
    """Store pieces of a job's output."""
    for piece in pieces:
        store.append_output(connection, job_id, piece.kind, piece.position, piece.text)


class LiveJob:
    """The output of one running job, and whether somebody wants it to end."""

    def __init__(
        self,
        job_id: str,
        changed: Callable[[], None],
        stored: Callable[[], None] = lambda: None,
        workspace_id: str = "",
    ) -> None:
        self.job_id = job_id
        self.workspace_id = workspace_id
        self.texts: dict[OutputKind, Text] = {"log": Text(), "stream": Text()}
        self.cancel_asked = asyncio.Event()
        self.redactor = Redactor()
        self.isolation: Isolation | None = None
        """Where its script runs, once that is known."""
        self.ended: tuple[Job, bytes] | None = None
        """The job and its result as they are stored, once they are."""
        self._changed = changed
        self._stored = stored
        self._dirty = asyncio.Event()
        self._full = asyncio.Event()
        self.closed = False

    def log(self, text: str) -> None:
        """Add to the log what the script wrote, without the secrets that are known of the job."""
        if shown := self.redactor.text(text):
            self.tell("log", shown)

    def tell(self, kind: OutputKind, text: str) -> None:
        """Add to the log or the result stream."""
        self.texts[kind].add(text)
        self._dirty.set()
        if self.texts[kind].waiting_chars >= FLUSH_CHARS:
            self._full.set()
        self._changed()

    async def keep(self, database: Database) -> None:
        """Store the output as it comes, until `close`."""
        while not self.closed:
            await self._dirty.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    await self._full.wait()
            self._dirty.clear()
            self._full.clear()
            if self.closed:
                return
            pieces = self.waiting()
            try:
                await database.write(append, self.job_id, pieces)
            except Unavailable as error:
                telemetry.log.warning("output not stored yet", job=self.job_id, error=str(error))
                self._dirty.set()
                await asyncio.sleep(RETRY_S)
            except Exception:  # noqa: BLE001 - the transaction that ends the run meets it again, and says so
                telemetry.log.exception("BUG: output could not be stored", job=self.job_id)
                return
            else:
                for piece in pieces:
                    self.texts[piece.kind].taken(piece.text)
                self._stored()

    def close(self) -> None:
        """Let `keep` return; what is `waiting` then is for the transaction that ends the run."""
        if held := self.redactor.rest():
            self.tell("log", held)
        self.closed = True
        self._dirty.set()
        self._full.set()

    def waiting(self) -> list[Piece]:
        """What is not stored yet."""
        return [Piece(kind, text.stored, text.take()) for kind, text in self.texts.items() if text.waiting]

    def after(self, kind: OutputKind, stored_length: int, offset: int) -> str | None:
        """What follows the `stored_length` characters a reader found stored, from `offset` on.

        None if more has been stored since the reader looked: it must look again.
        """
        text = self.texts[kind]
        if text.stored > stored_length:
            return None
        return text.take()[max(offset, stored_length) - text.stored :]
