"""Signatures of approvals' URLs: who has one may approve, without a token (docs/openflow.md section 1.10)."""

from __future__ import annotations

import hashlib
import hmac
from uuid import UUID

RESUME_ID_MAX = 2**32 - 1


def signature(key: bytes, job: UUID, resume_id: int, approver: str | None) -> str:
    """The signature, in lower-case hex, of one event of a gated step's job.

    `resume_id` is at most RESUME_ID_MAX; an empty `approver` counts as none.
    """
    signed = job.bytes + resume_id.to_bytes(4, "big") + (approver or "").encode()
    return hmac.new(key, signed, hashlib.sha256).hexdigest()


def is_signed(given: str, key: bytes, job: UUID, resume_id: int, approver: str | None) -> bool:
    """Whether `given` is that signature, in a time that says nothing of it."""
    right = signature(key, job, resume_id, approver)
    return hmac.compare_digest(given.lower().encode("utf-8", "replace"), right.encode())
