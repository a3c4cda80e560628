"""What users store in a workspace: scripts, flows, variables, resources.

Reads and writes are one transaction each. Secrets are encrypted on their way into the database and
decrypted on their way out; nothing below this file sees one in clear.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from executor import datadir
from executor.errors import ConfigurationError, Unavailable
from executor.script import compact_json
from executor.settings import Settings
from executor.storage.database import Database
from executor.workspace import flows, resources, scripts, variables
from executor.workspace.flows import NewFlow, StoredFlow
from executor.workspace.references import (
    NotStored,
    Sources,
    Unresolved,
    resolve_args,
    resolve_resource,
)
from executor.workspace.resources import Resource
from executor.workspace.scripts import NewScript, ScriptVersion
from executor.workspace.variables import Variable
from executor.workspace.vault import Unreadable, Vault, new_key

__all__ = ["Library", "NotStored", "StoredScript", "Unresolved"]

NOTHING_THERE = "there is none at this path"
RESOURCES = "_RESOURCES"
"""The argument that holds the resources which a script's text names."""


@dataclass(frozen=True)
class StoredScript:
    """What a step needs of a version of a script; `hash` names the version, times are in seconds."""

    path: str
    hash: str
    language: str
    content: str
    lock: str | None = None
    tag: str | None = None
    priority: int | None = None
    cache_ttl_s: float | None = None
    timeout_s: float | None = None
    concurrent_limit: int | None = None
    concurrency_window_s: float | None = None
    concurrency_key: str | None = None


class Library:
    """Stores and finds what the workspaces have. Whatever it does may raise Unavailable."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    @classmethod
    async def open(cls, database: Database, settings: Settings) -> Library:
        """The library with the instance's key, which is made when there is none yet.

        Raises ConfigurationError naming the key's file if it is lost or another one, while the
        database has secrets.
        """
        secret = await database.read(variables.any_secret)
        path = datadir.secrets_key_file(settings)
        if secret is not None and not path.exists():
            raise ConfigurationError(f"{path} is missing, with which {_OWED}")
        vault = Vault.of(datadir.once(path, new_key), path)
        try:
            if secret is not None:
                vault.unseal(secret.value, _of_variable(secret.workspace_id, secret.path))
        except Unreadable:
            raise ConfigurationError(f"{path} is not the key with which {_OWED}") from None
        return cls(database, vault)

    # ------------------------------------------------------------ for steps and jobs

    async def script(self, workspace_id: str, path: str, hash: str | None) -> StoredScript | None:
        """A script: the version `hash`, wherever it is, or the current one at `path`."""
        found = await self.script_version(workspace_id, path=None if hash else path, hash=hash)
        if found is None:
            return None
        return StoredScript(**{name: getattr(found, name) for name in StoredScript.__dataclass_fields__})

    async def flow(self, workspace_id: str, path: str) -> str | None:
        """The document, JSON, of the flow that runs at a path."""
        found = await self.stored_flow(workspace_id, path)
        return None if found is None else found.value

    async def variable(
        self, workspace_id: str, path: str, secret: Callable[[str], None] = lambda _: None
    ) -> str:
        """A variable's value, decrypted; raises NotStored. `secret` is told it if it is one."""
        found = await self.stored_variable(workspace_id, path)
        if found is None:
            raise NotStored(NOTHING_THERE)
        try:
            value = self.decrypted(found)
        except Unavailable as error:
            raise NotStored(str(error)) from None
        if found.is_secret:
            secret(value)
        return value

    async def resource(
        self, workspace_id: str, path: str, secret: Callable[[str], None] = lambda _: None
    ) -> bytes:
        """A resource's value as JSON, with what it names resolved, each secret told; raises NotStored."""
        value = await self._resource_value(workspace_id, path)
        try:
            return await resolve_resource(path, value, self._sources(workspace_id, {}, secret))
        except Unresolved as error:
            raise NotStored(str(error)) from None

    async def resolved(
        self,
        workspace_id: str,
        args: bytes,
        context: Mapping[str, str],
        named: Collection[str] = (),
        secret: Callable[[str], None] = lambda _: None,
    ) -> bytes:
        """A job's arguments as its script is to see them; `context`: the job's environment.

        `named` are resources that the script's own text names: the argument RESOURCES has those that
        there are, by path. `secret` is told each secret that comes in. Raises Unresolved with a
        message for the user.
        """
        sources = self._sources(workspace_id, context, secret)
        args = await resolve_args(args, sources)
        if not named:
            return args
        values: dict[str, Any] = {}
        for path in named:
            if await self.stored_resource(workspace_id, path) is not None:
                values[path] = json.loads(await self._named(workspace_id, path, sources))
        return compact_json({**json.loads(args), RESOURCES: values})

    async def tell_secrets(
        self, workspace_id: str, references: Collection[str], secret: Callable[[str], None]
    ) -> None:
        """Tell `secret` each secret in what `$var:PATH` and `$res:PATH` name, as far as it is still there."""
        sources = self._sources(workspace_id, {}, secret)
        for reference in references:
            with suppress(Unresolved):
                await resolve_args(compact_json({"secret": reference}), sources)

    async def _named(self, workspace_id: str, path: str, sources: Sources) -> bytes:
        try:
            return await resolve_resource(path, await self._resource_value(workspace_id, path), sources)
        except NotStored as error:
            raise Unresolved(str(error)) from None

    async def _resource_value(self, workspace_id: str, path: str) -> bytes:
        found = await self.stored_resource(workspace_id, path)
        if found is None:
            raise NotStored(NOTHING_THERE)
        return found.value

    def _sources(
        self,
        workspace_id: str,
        context: Mapping[str, str],
        secret: Callable[[str], None] = lambda _: None,
    ) -> Sources:
        def decrypted(sealed: str) -> str:
            try:
                value = self._vault.unseal(sealed, _of_value(workspace_id))
            except Unreadable as error:
                raise NotStored(str(error)) from None
            secret(value)
            return value

        return Sources(
            variable=lambda path: self.variable(workspace_id, path, secret),
            resource=lambda path: self._resource_value(workspace_id, path),
            decrypted=decrypted,
            context={name: value for name, value in context.items() if name.startswith("WM_")},
        )

    # ------------------------------------------------------------ scripts and flows

    async def create_script(self, workspace_id: str, new: NewScript, by: str, now: int) -> str:
        """As `scripts.create`."""
        return await self._database.write(scripts.create, workspace_id, new, by, now)

    async def script_version(
        self, workspace_id: str, *, path: str | None = None, hash: str | None = None
    ) -> ScriptVersion | None:
        """The version `hash`, or the current one at `path`."""
        if hash is not None:
            return await self._database.read(scripts.by_hash, workspace_id, hash)
        return await self._database.read(scripts.at_path, workspace_id, path)

    async def create_flow(self, workspace_id: str, new: NewFlow, by: str, now: int) -> None:
        """As `flows.create`."""
        await self._database.write(flows.create, workspace_id, new, by, now)

    async def replace_flow(self, workspace_id: str, path: str, new: NewFlow, by: str, now: int) -> None:
        """As `flows.replace`."""
        await self._database.write(flows.replace, workspace_id, path, new, by, now)

    async def stored_flow(self, workspace_id: str, path: str) -> StoredFlow | None:
        """The flow that runs at a path."""
        return await self._database.read(flows.latest, workspace_id, path)

    # ------------------------------------------------------------ variables

    async def create_variable(self, variable: Variable) -> None:
        """As `variables.create`; the value is in clear and is encrypted here, if it is a secret."""
        await self._database.write(variables.create, self._sealed(variable))

    async def change_variable(self, workspace_id: str, path: str, changes: Mapping[str, Any]) -> None:
        """Change some of `path`, `value` (in clear), `is_secret`, `description` and who did it when.

        Raises NotFound, BadInput for a wrong path, Conflict if the new one is taken.
        """

        def act(connection: Any) -> None:
            found = variables.get(connection, workspace_id, path)
            if found is None:
                raise variables.not_found(path)
            clear = {**vars(found), "value": self.decrypted(found) if "value" not in changes else ""}
            changed = self._sealed(Variable(**{**clear, **changes}))
            variables.change(connection, workspace_id, path, vars(changed))

        await self._database.write(act)

    async def stored_variable(self, workspace_id: str, path: str) -> Variable | None:
        """The variable at a path; a secret's value is encrypted."""
        return await self._database.read(variables.get, workspace_id, path)

    def decrypted(self, variable: Variable) -> str:
        """A variable's value in clear; raises Unavailable naming the key's file."""
        if not variable.is_secret:
            return variable.value
        try:
            return self._vault.unseal(variable.value, _of_variable(variable.workspace_id, variable.path))
        except Unreadable as error:
            raise Unavailable(f"the secret {variable.path} is there, but {error}") from None

    def encrypted(self, workspace_id: str, value: str) -> str:
        """A text as an argument may hold it after `$encrypted:`; only jobs of the workspace can read it."""
        return self._vault.seal(value, _of_value(workspace_id))

    def _sealed(self, variable: Variable) -> Variable:
        if not variable.is_secret:
            return variable
        value = self._vault.seal(variable.value, _of_variable(variable.workspace_id, variable.path))
        return Variable(**{**vars(variable), "value": value})

    # ------------------------------------------------------------ resources

    async def create_resource(self, resource: Resource) -> None:
        """As `resources.create`."""
        await self._database.write(resources.create, resource)

    async def change_resource(self, workspace_id: str, path: str, changes: Mapping[str, Any]) -> None:
        """As `resources.change`."""
        await self._database.write(resources.change, workspace_id, path, changes)

    async def stored_resource(self, workspace_id: str, path: str) -> Resource | None:
        """The resource at a path."""
        return await self._database.read(resources.get, workspace_id, path)


_OWED = (
    "the database's secrets were encrypted; restore it from a backup. If it is lost, so are they: "
    "DELETE FROM variables WHERE is_secret, remove the file, and store them anew"
)


def _of_variable(workspace_id: str, path: str) -> str:
    return compact_json(["variable", workspace_id, path]).decode()


def _of_value(workspace_id: str) -> str:
    return compact_json(["value", workspace_id]).decode()
