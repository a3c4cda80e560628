"""Tokens: who may call, what they may do and where, until when. Of a stored token there is only a hash.

A token is 32 random bytes, so that a plain SHA-256 of it can be stored and looked up: there is nothing
to guess, and a look-up by hash takes a time that says nothing of the token. The instance's own token
(EXECUTOR_TOKEN) is one that is not stored, for everything.

A script's `WM_TOKEN` is stored nowhere: it is signed with its workspace's key, and holds while the job runs.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum

from sqlalchemy import Connection, Row, delete, insert, select, update

from executor.errors import BadInput, NotFound
from executor.storage.database import Database
from executor.storage.tables import tokens

BYTES = 32
PREFIX_CHARS = 10
"""A token is called by its beginning where it is listed and deleted."""
OF_JOB = "job-"
USED_EVERY_US = 60_000_000
"""The last use is stored no more often than this."""


class Right(StrEnum):
    """What a token allows; each includes those before it."""

    READ = "read"
    """See jobs, results, logs, and what is stored. Not the values of secrets."""
    RUN = "run"
    """Run scripts and flows, cancel and approve; change variables and resources, as any script may."""
    ADMIN = "admin"
    """Store scripts and flows; without a list of workspaces also make workspaces, policies, tokens."""

    def includes(self, other: Right) -> bool:
        """Whether who has this right may do what needs the other one."""
        order = list(Right)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True)
class Token:
    """What is known of a token; times in microseconds since 1970, UTC."""

    prefix: str
    user: str
    right: Right
    workspaces: tuple[str, ...] | None = None
    """Where it holds; None: in every workspace, and for the instance itself."""
    label: str = ""
    created_at: int = 0
    expires_at: int | None = None
    last_used_at: int | None = None
    job_id: str | None = None
    """Whose `WM_TOKEN` it is."""

    def holds_in(self, workspace_id: str) -> bool:
        """Whether it is for this workspace too."""
        return self.workspaces is None or workspace_id in self.workspaces

    @property
    def is_instance_s_admin(self) -> bool:
        """Whether it allows everything, everywhere."""
        return self.right is Right.ADMIN and self.workspaces is None

    def covers(self, other: Token) -> bool:
        """Whether whoever has it may do all that the other one allows: the same user's, nowhere else, no more, no longer."""
        where = self.workspaces is None or (
            other.workspaces is not None and set(other.workspaces) <= set(self.workspaces)
        )
        so_long = self.expires_at is None or (
            other.expires_at is not None and other.expires_at <= self.expires_at
        )
        no_more = self.user == other.user and where and so_long and self.right.includes(other.right)
        return self.is_instance_s_admin or no_more


class Tokens:
    """The instance's tokens, cached: every request asks for one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_hash: dict[str, Token] = {}

    async def load(self) -> None:
        """Read them."""
        self._by_hash = dict(await self._database.read(_all))

    async def create(self, asked: Token, now: int) -> tuple[str, Token]:
        """Make a token; gives its text, which nobody can be told again. Raises BadInput for one that is over."""
        if asked.expires_at is not None and asked.expires_at <= now:
            raise BadInput(
                "expiration: it is over already", field="expiration", remedy="give a time that is to come"
            )
        text = secrets.token_urlsafe(BYTES)
        token = replace(asked, prefix=text[:PREFIX_CHARS], created_at=now)
        await self._database.write(_insert, hash_of(text), token)
        self._by_hash[hash_of(text)] = token
        return text, token

    async def find(self, text: str, now: int) -> Token | None:
        """The token of this text, if it holds now."""
        token = self._by_hash.get(hash_of(text))
        if token is None or (token.expires_at is not None and token.expires_at <= now):
            return None
        if token.last_used_at is None or now - token.last_used_at > USED_EVERY_US:
            self._by_hash[hash_of(text)] = token = replace(token, last_used_at=now)
            await self._database.write(_note_use, hash_of(text), now)
        return token

    def list(self, user: str | None = None) -> list[Token]:
        """Tokens by age, of one user or of all."""
        found = (token for token in self._by_hash.values() if user in (None, token.user))
        return sorted(found, key=lambda token: (token.created_at, token.prefix))

    async def delete(self, prefix: str, by: Token) -> Token:
        """End a token, at once; raises NotFound, also for one that `by` does not cover."""
        for hashed, token in self._by_hash.items():
            if token.prefix == prefix and by.covers(token):
                await self._database.write(_delete, hashed)
                return self._by_hash.pop(hashed)
        raise NotFound(f"no token begins with {prefix!r}", field="token_prefix")


def hash_of(text: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# ---------------------------------------------------------------- of jobs


def sign_for_job(key: bytes, token: Token) -> str:
    """The text of a job's token: who it is for, what it allows, until when, and a signature (HMAC-SHA-256)."""
    fields = [token.workspaces, token.job_id, token.user, token.right, token.expires_at]
    body = urlsafe_b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode().rstrip("=")
    return f"{OF_JOB}{body}.{_signature(key, body)}"


def read_for_job(text: str, now: int) -> Token | None:
    """What a job's token says of itself; None if it is none, or over. Its signature was not looked at."""
    if not text.startswith(OF_JOB):
        return None
    body = text.removeprefix(OF_JOB).partition(".")[0]
    try:
        fields = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        (workspace_id,), job_id, user, right, expires_at = fields
        token = Token(OF_JOB, user, Right(right), (workspace_id,), expires_at=expires_at, job_id=job_id)
    except (ValueError, TypeError, RecursionError):
        return None
    is_text = all(isinstance(field, str) for field in (workspace_id, job_id, user))
    return token if is_text and isinstance(expires_at, int) and expires_at > now else None


def is_signed(key: bytes, text: str) -> bool:
    """Whether a job's token was made with this key, in a time that says nothing of the right signature."""
    body, _, signature = text.removeprefix(OF_JOB).partition(".")
    return hmac.compare_digest(signature.encode("utf-8", "surrogatepass"), _signature(key, body).encode())


def _signature(key: bytes, body: str) -> str:
    # Another text is signed with the same key: approvals' URLs. No text is both.
    return hmac.new(
        key, f"token of a job:{body}".encode("utf-8", "surrogatepass"), hashlib.sha256
    ).hexdigest()


# ---------------------------------------------------------------- rows


def _all(connection: Connection) -> list[tuple[str, Token]]:
    return [(row.hash, _token(row)) for row in connection.execute(select(tokens))]


def _token(row: Row[tuple[object, ...]]) -> Token:
    where: Collection[str] | None = None if row.workspaces is None else json.loads(row.workspaces)
    return Token(
        prefix=row.prefix,
        user=row.user,
        right=Right(row.right),
        workspaces=None if where is None else tuple(where),
        label=row.label,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
    )


def _insert(connection: Connection, hashed: str, token: Token) -> None:
    where = None if token.workspaces is None else json.dumps(token.workspaces)
    connection.execute(
        insert(tokens).values(
            hash=hashed,
            prefix=token.prefix,
            user=token.user,
            right=token.right.value,
            workspaces=where,
            label=token.label,
            created_at=token.created_at,
            expires_at=token.expires_at,
        )
    )


def _note_use(connection: Connection, hashed: str, now: int) -> None:
    connection.execute(update(tokens).where(tokens.c.hash == hashed).values(last_used_at=now))


def _delete(connection: Connection, hashed: str) -> None:
    connection.execute(delete(tokens).where(tokens.c.hash == hashed))
