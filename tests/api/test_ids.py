"""What cannot be guessed: ids, signatures, keys, tokens; and how what is secret is compared."""

from __future__ import annotations

import ast
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.jobs.job import new_id
from executor.storage.tables import new_key
from executor.workspace.signatures import is_signed, signature
from tests.service import LocalService, local_service

pytestmark = pytest.mark.anyio
SOURCES = sorted((Path(__file__).parents[2] / "executor").rglob("*.py"))
COUNT = 4000


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    async with local_service(tmp_path) as running:
        yield running


def free_bits(values: list[int], bits: int) -> int:
    """How many bits are set in about half of the values."""
    shares = [sum(value >> bit & 1 for value in values) / len(values) for bit in range(bits)]
    return sum(0.4 < share < 0.6 for share in shares)


async def test_a_job_s_id_has_122_random_bits() -> None:
    """A UUID of version 4: no clock, no counter, no host in it."""
    found = [uuid.UUID(new_id()) for _ in range(COUNT)]
    assert {one.version for one in found} == {4}
    assert len(set(found)) == COUNT
    assert free_bits([one.int for one in found], 128) == 122


async def test_ids_of_flows_jobs_inside_are_as_random(service: LocalService) -> None:
    """Those of steps and loops are made by the walk, not by whoever submits."""
    modules = [{"id": letter, "value": {"type": "identity"}} for letter in "abcdefgh"]
    posted = await service.http.post(
        "/api/w/main/jobs/run/preview_flow", json={"value": {"modules": modules}}
    )
    flow = await service.ended(posted.text)
    steps = [uuid.UUID(module["job"]) for module in flow["flow_status"]["modules"]]
    assert len(set(steps)) == 8
    assert {(one.version, one.variant) for one in [uuid.UUID(posted.text), *steps]} == {(4, uuid.RFC_4122)}


async def test_keys_tokens_and_signatures_have_256_bits(service: LocalService) -> None:
    """Each workspace has a key of its own; a signature is a whole HMAC-SHA-256."""
    keys = [new_key() for _ in range(COUNT)]
    assert {len(key) for key in keys} == {32}
    assert free_bits([int.from_bytes(key) for key in keys], 256) == 256
    tokens = {(await service.http.post("/api/users/tokens/create", json={})).text for _ in range(50)}
    assert len(tokens) == 50
    assert all(len(token) == 43 for token in tokens)  # 32 bytes in base64url
    job = uuid.uuid4()
    signed = {signature(keys[0], job, number, None) for number in range(COUNT)}
    assert {len(one) for one in signed} == {64}
    assert free_bits([int(one, 16) for one in signed], 256) == 256
    right = signature(keys[0], job, 7, "ada")
    assert is_signed(right, keys[0], job, 7, "ada")
    for key, of_job, resume_id, approver in (
        (keys[1], job, 7, "ada"),
        (keys[0], uuid.uuid4(), 7, "ada"),
        (keys[0], job, 8, "ada"),
        (keys[0], job, 7, "bob"),
        (keys[0], job, 7, None),
    ):
        assert not is_signed(right, key, of_job, resume_id, approver)


SECRET = {"signature", "_signature", "hash_of", "secret", "password", "hexdigest"}
"""Functions and names whose value is nobody's to guess byte by byte."""


def names_in(node: ast.AST) -> set[str]:
    found = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return found | {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}


async def test_secrets_are_compared_in_constant_time() -> None:
    """`==` on one would tell by its time how much of a guess was right; `hmac.compare_digest` does not."""
    wrong = [
        f"{path.name}: {ast.unparse(node)}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Compare)
        and any(isinstance(operator, ast.Eq | ast.NotEq) for operator in node.ops)
        and names_in(node) & (SECRET | {"token"})
        and not names_in(node) & {"prefix", "user", "right", "tag"}
    ]
    assert wrong == []


async def test_the_places_that_compare_secrets_are_known() -> None:
    """Each of them does it by `compare_digest`."""
    using = {path.name for path in SOURCES if "hmac.compare_digest(" in path.read_text("utf-8")}
    assert using == {"context.py", "tokens.py", "signatures.py"}
