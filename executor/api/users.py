"""Who calls."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from executor.api.context import InWorkspace, Who
from executor.workspace.tokens import Right

router = APIRouter()


@router.get("/users/whoami", summary="Who calls")
async def whoami(workspace: InWorkspace, token: Who) -> dict[str, Any]:
    """The user that the token is of, and what it may do here."""
    is_admin = token.right is Right.ADMIN
    return {
        "workspace_id": workspace.id,
        "username": token.user,
        "email": "",
        "right": token.right,
        "is_admin": is_admin,
        "is_super_admin": is_admin and token.workspaces is None,
        "operator": token.right is Right.READ,
        "disabled": False,
        "groups": [],
        "folders": [],
    }
