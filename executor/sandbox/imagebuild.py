"""What goes into an image, the hash of it, and one build by the engine.

The same inputs give the same hash on every machine: contents and executable bits count, times,
owners, umask and file order do not.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from executor.debian import indented
from executor.errors import EngineError
from executor.runtimes import MANIFEST, Runtime
from executor.sandbox.docker import translated

IMAGE_LABEL = "executor.image"
INPUTS_LABEL = "executor.inputs"
TAG_CHARACTERS = 16
TAIL_LINES = 20
INSTRUCTION_CHARACTERS = 200
IGNORED_FOLDERS = {"__pycache__", ".git", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
IGNORED_FILES = re.compile(r".*\.py[co]|.*~|\.DS_Store|\..*\.sw[op]")
NOT_IN_IMAGE = {"Dockerfile", MANIFEST, "conformance"}
STEP = re.compile(r"Step (\d+)/(\d+) : (.*)")
STDERR_COLOUR = "\x1b[91m"  # in which the engine sends on what a step wrote to its stderr
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
NOISE = re.compile(
    r" ---> |Removing intermediate container|\[Warning\] One or more build-args|\(Reading database"
)

# Told of each step: its number, how many there are, and the line just printed.
StepReport = Callable[[int, int, str], None]


@dataclass(frozen=True)
class File:
    """One file of a build context."""

    content: bytes
    is_executable: bool = False


@dataclass(frozen=True)
class Recipe:
    """Everything that makes one image: `parents` maps build arguments to the images they name."""

    name: str
    dockerfile: str
    files: Mapping[str, File]
    parents: Mapping[str, str]
    host_files: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Hash of all inputs but the host's own files."""
        listing = [
            [path, file.is_executable, hashlib.sha256(file.content).hexdigest()]
            for path, file in sorted(self.files.items())
        ]
        whole = [self.dockerfile, dict(self.parents), listing]
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()

    @property
    def tag(self) -> str:
        """The image's name and tag."""
        return f"executor/{self.name}:{self.digest[:TAG_CHARACTERS]}"


def declared_arguments(dockerfile: str) -> set[str]:
    """The build arguments that a Dockerfile asks for."""
    return set(re.findall(r"^\s*ARG\s+([A-Za-z_][A-Za-z0-9_]*)", dockerfile, re.MULTILINE | re.IGNORECASE))


def folder_files(
    folder: Path, prefix: str = "", without: set[str] | frozenset[str] = frozenset()
) -> dict[str, File]:
    """Every file below `folder`, by its path in the context; `without` names top-level entries to skip."""
    found: dict[str, File] = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        is_ignored = IGNORED_FILES.fullmatch(path.name) or IGNORED_FOLDERS & set(relative.parts)
        if is_ignored or relative.parts[0] in without or not path.is_file():
            continue
        found[prefix + relative.as_posix()] = File(path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return found


def runtime_dockerfile(runtime: Runtime, dockerfile: str) -> str:
    """A language's Dockerfile with the end that all languages share: its folder, the user, jobinit."""
    first = runtime.stages[0]
    return (
        f"{dockerfile.rstrip()}\n"
        "COPY runtime/ /executor/runtime/\n"
        "USER 65532:65532\n"
        "WORKDIR /job\n"
        f"ENTRYPOINT {json.dumps(first.jobinit_argv)}\n"
        "CMD []\n"
    )


def runtime_files(runtime: Runtime) -> dict[str, File]:
    """The files of a language's folder that its image holds."""
    examples = {path.name for path in runtime.folder.glob("example.*")}
    return folder_files(runtime.folder, "runtime/", NOT_IN_IMAGE | examples)


def packed(files: Mapping[str, File]) -> bytes:
    """A tar of the context that depends on nothing but names, contents and executable bits."""
    folders = {
        "/".join(parts[:depth])
        for parts in (path.split("/") for path in files)
        for depth in range(1, len(parts))
    }
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted({*folders, *files}):
            entry = tarfile.TarInfo(path)
            if path in folders:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
            else:
                file = files[path]
                entry.mode = 0o755 if file.is_executable else 0o644
                entry.size = len(file.content)
                archive.addfile(entry, io.BytesIO(file.content))
    return output.getvalue()


def build(
    client: docker.DockerClient,
    recipe: Recipe,
    host_files: Mapping[str, File],
    proxies: Mapping[str, str],
    inputs: str,
    report: StepReport,
    *,
    fresh: bool = False,
) -> None:
    """Build an image and only then give it its tag. Raises EngineError with the step that failed."""
    context = {**recipe.files, "Dockerfile": File(recipe.dockerfile.encode())}
    context |= {path: host_files[path] for path in recipe.host_files}

    def stream() -> str:
        events = client.api.build(
            fileobj=io.BytesIO(packed(context)),
            custom_context=True,
            decode=True,
            nocache=fresh,
            rm=True,
            forcerm=True,
            network_mode="host",
            buildargs={**proxies, **recipe.parents},
            labels={IMAGE_LABEL: recipe.name, INPUTS_LABEL: inputs},
        )
        return followed(events, recipe.tag, report)

    image = translated(stream, ())
    repository, _, version = recipe.tag.partition(":")
    translated(client.api.tag, (image, repository, version))


def followed(events: Any, tag: str, report: StepReport) -> str:
    """Follow a build to its end; the image's id. Raises EngineError with the failing step and last lines."""
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    # What a step wrote to its stderr may overtake, or lag behind, what it wrote to its stdout.
    complaints: deque[str] = deque(maxlen=TAIL_LINES)
    step, steps, instruction, image = 0, 0, "", ""
    for event in events:
        image = event.get("aux", {}).get("ID", image)
        stream = str(event.get("stream") or "")
        for line in shown_lines(stream):
            if match := STEP.match(line):
                step, steps, instruction = int(match[1]), int(match[2]), match[3]
            tail.append(line)
            if STDERR_COLOUR in stream:
                complaints.append(line)
            report(step, steps, line)
        if "error" in event:
            lines = [*(line for line in complaints if line not in tail), *tail]
            # The engine repeats the whole instruction; once is enough.
            why = re.sub(r"^The command '.*' returned", "it returned", str(event["error"]), flags=re.DOTALL)
            raise EngineError(
                f"building {tag} failed at step {step}/{steps}: {instruction[:INSTRUCTION_CHARACTERS]}\n"
                f"  {why}\n  its last lines:\n{indented(lines)}"
            )
    if not image:
        raise EngineError(f"building {tag} ended without an image; its last lines:\n{indented(list(tail))}")
    return image


def shown_lines(stream: str) -> Iterator[str]:
    """The lines worth showing; of one that overwrites itself, what a terminal would show in the end."""
    for line in stream.split("\n"):
        left = line.rstrip("\r").rpartition("\r")[2]
        plain = ESCAPE.sub("", left).rstrip()
        if plain and not NOISE.match(plain):
            yield plain
