"""Reads the languages: one folder each, found by scanning, never listed.

A folder `runtimes/<name>/` with a `runtime.toml` is a language called `<name>`. This module knows
manifests; it does not know containers, images or jobs.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from executor.errors import ConfigurationError

MANIFEST = "runtime.toml"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


class _Minimum(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    memory_mb: PositiveInt = 16
    pids: PositiveInt = 8
    tmp_mb: PositiveInt = 1


class _Limits(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    minimum: _Minimum = _Minimum()


class CompileLimits(BaseModel):
    """What one compilation may use; it is not counted in the job's own limits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout_s: PositiveFloat = 60
    memory_mb: PositiveInt = 512
    cpus: PositiveFloat = 1
    pids: PositiveInt = 128
    tmp_mb: PositiveInt = 128
    log_bytes: PositiveInt = 256 * 1024
    result_bytes: PositiveInt = 64 * 1024 * 1024


class Compile(BaseModel):
    """How a script becomes a program before it runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    runner: tuple[str, ...] = Field(min_length=1)
    label: str
    limits: CompileLimits = CompileLimits()


class _Conformance(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    skip: dict[str, str] = {}


class Manifest(BaseModel):
    """What `runtime.toml` says; CONTRIBUTING.md explains each field to people who add a language."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    aliases: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    source: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    runner: tuple[str, ...] = Field(min_length=1)
    comment: str = Field("#", min_length=1, max_length=4)
    sandbox: bool = False
    refused: dict[str, str] = {}
    run_image: Literal["base", "script"] | None = None
    label: str
    cancel_signal: Literal["SIGINT", "SIGTERM"] = "SIGINT"
    stdin: Literal["nothing", "args"] = "nothing"
    result: Literal["channel", "output", "stdout"] = "channel"
    merge_stderr: bool = False
    network: Literal["none", "egress"] = "none"
    needs_server: bool = False
    out_of_memory: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    limits: _Limits = _Limits()
    compile: Compile | None = None
    conformance: _Conformance = _Conformance()

    @field_validator("out_of_memory", "resources")
    @classmethod
    def _are_patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
        return patterns

    @field_validator("resources")
    @classmethod
    def _have_one_group(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            if re.compile(pattern).groups != 1:
                raise ValueError(f"{pattern!r} needs one group, around the path")
        return patterns

    @model_validator(mode="after")
    def _has_a_program_to_run_elsewhere(self) -> Manifest:
        if self.run_image == "base" and self.compile is None:
            raise ValueError("run_image needs [compile]: without it nothing of the language is in that image")
        return self

    @model_validator(mode="after")
    def _chooses_its_image_in_one_way(self) -> Manifest:
        if self.run_image == "script" and (self.compile is not None or self.stdin != "args"):
            raise ValueError('run_image = "script" needs stdin = "args", and cannot have [compile]')
        if self.sandbox and (self.run_image is not None or self.compile is not None):
            raise ValueError("sandbox needs the language's own runner in its own image")
        return self

    @model_validator(mode="after")
    def _talks_to_a_plain_program_in_one_way(self) -> Manifest:
        if (self.stdin == "args") != (self.result == "stdout"):
            raise ValueError(
                'stdin = "args" and result = "stdout" need each other: so a plain program is run'
            )
        if self.result == "stdout" and self.merge_stderr:
            raise ValueError('result = "stdout" cannot be had with merge_stderr: the log would be in it')
        return self


@dataclass(frozen=True)
class Runtime:
    """A language: its name, its folder and its manifest."""

    name: str
    folder: Path
    manifest: Manifest

    @property
    def example(self) -> Path | None:
        """A script that shows the language: `example.*` in its folder, called with `name` and `numbers`."""
        return next(iter(sorted(self.folder.glob("example.*"))), None)

    @property
    def jobinit_argv(self) -> list[str]:
        """What jobinit is started with in this language's image."""
        return self.jobinit_argv_of(self.manifest.runner)

    def jobinit_argv_of(self, command: Sequence[str], folder: str | None = None) -> list[str]:
        """What jobinit is started with for another command, begun in `folder` of the image."""
        flags = ["--source", self.manifest.source, "--result", self.manifest.result]
        if self.manifest.merge_stderr:
            flags.append("--merge-stderr")
        if self.manifest.stdin == "args":
            flags += ["--stdin", "args"]
        if folder is not None:
            flags += ["--dir", folder]
        return ["/executor/jobinit", *flags, "--", *command]

    def resources_of(self, source: str) -> list[str]:
        """The paths of the resources that a script's own text names, each once."""
        found = [path for pattern in self.manifest.resources for path in re.findall(pattern, source)]
        return list(dict.fromkeys(found))

    @property
    def image_name(self) -> str:
        """The image of ours that its scripts run in, or that has jobinit where scripts name theirs."""
        return self.name if self.manifest.run_image is None else "base"

    @property
    def has_own_image(self) -> bool:
        """Whether there is an image of this language; else its scripts run in those they name."""
        return any(stage.image_name == self.name for stage in self.stages)

    @property
    def compiler(self) -> Runtime | None:
        """What makes programs of its scripts, itself a runtime, in the language's own image."""
        how = self.manifest.compile
        if how is None:
            return None
        own = Manifest(
            title=self.manifest.title,
            comment=self.manifest.comment,
            source=self.manifest.source,
            runner=how.runner,
            label=how.label,
        )
        return replace(self, manifest=own)

    @property
    def stages(self) -> list[Runtime]:
        """What a script goes through, each in a container of its own: the compiler, if any, and the run."""
        return [self] if (compiler := self.compiler) is None else [compiler, self]


@dataclass(frozen=True)
class Runtimes:
    """The languages of this instance, by name and alias."""

    by_name: Mapping[str, Runtime]
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __iter__(self) -> Iterator[Runtime]:
        return iter(self.by_name.values())

    def find(self, language: str) -> Runtime | None:
        """The runtime called `language`, by name or alias."""
        return self.by_name.get(self.aliases.get(language, language))

    def canonical(self, language: str) -> str | None:
        """A language's own name, by its name or an alias."""
        found = self.find(language)
        return None if found is None else found.name

    def for_file(self, path: Path) -> Runtime | None:
        """The runtime whose extensions claim this file's name; of several the longest counts."""
        claims = [
            (len(extension), runtime)
            for runtime in self
            for extension in runtime.manifest.extensions
            if path.name.endswith(extension)
        ]
        return max(claims, key=lambda claim: claim[0])[1] if claims else None

    def names(self) -> list[str]:
        """Names of all languages, sorted."""
        return sorted(self.by_name)


def bundled(folder: str) -> Path:
    """Where `runtimes` or `images` are: in an installed wheel, else in the checkout."""
    packaged = Path(__file__).parent / "_bundled" / folder
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / folder


def scan(folders: str | None = None) -> Runtimes:
    """Read every language in `folders` (`:`-separated; default: the bundled ones).

    Raises ConfigurationError naming the folder and field that is wrong. A name wins over an alias;
    of two languages with one alias the first by name has it.
    """
    roots = [Path(f) for f in folders.split(":") if f] if folders else [bundled("runtimes")]
    found: dict[str, Runtime] = {}
    for root in roots:
        if not root.is_dir():
            raise ConfigurationError(f"EXECUTOR_RUNTIMES: {root} is not a folder")
        for manifest in sorted(root.glob(f"*/{MANIFEST}")):
            runtime = read(manifest.parent)
            if runtime.name in found:
                raise ConfigurationError(
                    f"EXECUTOR_RUNTIMES: {runtime.folder} and {found[runtime.name].folder} "
                    f"are both called {runtime.name!r}; rename one folder"
                )
            found[runtime.name] = runtime
    if not found:
        raise ConfigurationError(f"no language found: no */{MANIFEST} in {', '.join(map(str, roots))}")
    aliases: dict[str, str] = {}
    for runtime in sorted(found.values(), key=lambda r: r.name):
        for alias in runtime.manifest.aliases:
            if alias not in found:
                aliases.setdefault(alias, runtime.name)
    return Runtimes(MappingProxyType(found), MappingProxyType(aliases))


def read(folder: Path) -> Runtime:
    """Read one language's folder; raise ConfigurationError naming what is wrong in it."""
    path = folder / MANIFEST
    if not NAME.fullmatch(folder.name):
        raise ConfigurationError(
            f"{folder}: {folder.name!r} cannot be a language's name; use a-z, 0-9, - and _, a letter first"
        )
    try:
        manifest = Manifest.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigurationError(f"{path}: {wrong}") from error
    return Runtime(folder.name, folder, manifest)
