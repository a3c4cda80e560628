"""Conformance cases of the languages: reads them; the format is described in cases.toml."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.runtimes import Runtime

COMMON = Path(__file__).parent / "cases.toml"
MERGED = ("expect", "limits", "env")
KEYS = {"asks", "mandatory", "args", "args_generate", "env", "limits", "cancel_after_s", "expect"}
EXPECT_KEYS = {
    "success", "result", "result_is_arg", "reason", "error_name", "error_message", "message_has",
    "stack_has", "stack_lacks", "extra", "exit_code", "error_bytes_max", "logs", "logs_have_arg",
    "logs_lack", "stream", "min_seconds", "max_seconds",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One question to one language."""

    runtime: Runtime
    name: str
    asks: str
    script: str
    args: Mapping[str, Any]
    args_text: bytes
    env: Mapping[str, str]
    limits: Mapping[str, Any]
    cancel_after_s: float | None
    expect: Mapping[str, Any]

    @property
    def id(self) -> str:
        """How the case is called in a test's name."""
        return f"{self.runtime.name}-{self.name}"


def common() -> dict[str, dict[str, Any]]:
    """The cases that every language is asked."""
    return tomllib.loads(COMMON.read_text("utf-8"))


def mandatory() -> list[str]:
    """Names of the cases that a language answers, or says why it cannot."""
    return [name for name, case in common().items() if case.get("mandatory")]


def answered(runtime: Runtime) -> Iterator[Case]:
    """The cases for which the language has a script, common ones first."""
    shared = common()
    scripts = {path.stem: path for path in _folder(runtime).glob("*") if path.suffix != ".toml"}
    for name in sorted(scripts, key=lambda n: (n not in shared, n)):
        yield _read(runtime, name, scripts[name], shared.get(name))


def wrong(runtime: Runtime) -> list[str]:
    """What is missing or too much in the language's conformance folder, in sentences."""
    names = {path.stem for path in _folder(runtime).glob("*") if path.suffix != ".toml"}
    skipped = set(runtime.manifest.conformance.skip)
    said = [
        f"{name}: no script, and no reason in [conformance.skip]"
        for name in mandatory()
        if name not in names | skipped
    ]
    said += [f"{name}: skipped, but there is a script" for name in sorted(skipped & names)]
    said += [
        f"{path.name}: there is no script for it"
        for path in _folder(runtime).glob("*.toml")
        if path.stem not in names
    ]
    return said


def _folder(runtime: Runtime) -> Path:
    return runtime.folder / "conformance"


def _read(runtime: Runtime, name: str, script: Path, shared: dict[str, Any] | None) -> Case:
    override = script.with_suffix(".toml")
    own = tomllib.loads(override.read_text("utf-8")) if override.exists() else {}
    if shared is None and not own:
        raise ValueError(f"{script}: neither cases.toml nor {override.name} says what is expected")
    merged = {**(shared or {}), **own}
    for key in MERGED:
        merged[key] = {**(shared or {}).get(key, {}), **own.get(key, {})}
    expect = {key: value for key, value in merged["expect"].items() if value != "any"}
    if unknown := (set(merged) - KEYS) | (set(expect) - EXPECT_KEYS):
        raise ValueError(f"{script}: unknown keys {sorted(unknown)}")
    args_text = merged.get("args", "{}").encode()
    args = json.loads(args_text)
    if generated := merged.get("args_generate"):
        args |= {key: _generate(**how) for key, how in generated.items()}
        args_text = json.dumps(args, ensure_ascii=False).encode()
    return Case(
        runtime=runtime,
        name=name,
        asks=merged["asks"],
        script=script.read_text("utf-8"),
        args=args,
        args_text=args_text,
        env=merged["env"],
        limits=merged["limits"],
        cancel_after_s=merged.get("cancel_after_s"),
        expect=expect,
    )


def _generate(repeat: str, characters: int) -> str:
    return (repeat * (characters // len(repeat) + 1))[:characters]
