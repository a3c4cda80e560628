"""Steps of one run share a directory, whatever their languages; real containers on the real engine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.sandbox.shared import SharedDirectories, Size
from executor.sandbox.shareddisk import Ext4
from executor.script import Failed, Returned
from tests.shared.bench import RUNTIMES, Bench, bench, directories, gone, loops_below, mounts_below

pytestmark = [pytest.mark.engine, pytest.mark.anyio]

PYTHON_WRITES = """
def main(text):
    open('./shared/note', 'w').write(text)
    return open('/shared/note').read()
"""
BASH_READS = 'jq -Rs . < shared/note > result.json; printf " and bash" >> /shared/note'
DENO_APPENDS = """
export async function main() {
    await Deno.writeTextFile("./shared/note", " and deno", { append: true });
    return (await Deno.readTextFile("/shared/note")).toString();
}
"""
GO_READS = """package inner

import "os"

func main() (string, error) {
	text, err := os.ReadFile("shared/note")
	return string(text), err
}
"""


@pytest.fixture
async def shared(tmp_path: Path) -> AsyncIterator[SharedDirectories]:
    async with directories(tmp_path / "shared") as made:
        yield made


@pytest.fixture
async def steps(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path / "containers") as made:
        yield made


async def test_every_language_sees_what_the_others_wrote(steps: Bench, shared: SharedDirectories) -> None:
    """`./shared` and `/shared` are one directory, and one user owns everything in it."""
    run = await shared.open("run")
    assert await steps.value(run, "python3", PYTHON_WRITES, text="python") == "python"
    assert await steps.value(run, "bash", BASH_READS) == "python"
    assert await steps.value(run, "deno", DENO_APPENDS) == "python and bash and deno"
    if "go" in RUNTIMES.by_name:
        assert await steps.value(run, "go", GO_READS) == "python and bash and deno"


async def test_without_a_directory_each_job_has_an_empty_one_of_its_own(steps: Bench) -> None:
    """What one job leaves in it no other job finds."""
    assert await steps.value(None, "python3", PYTHON_WRITES, text="x") == "x"
    assert await steps.value(None, "bash", "ls -A /shared | jq -Rs . > result.json") == ""
