"""Who calls."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from executor.api.context import Caller, InWorkspace

router = APIRouter()


@router.get("/users/whoami", summary="Who calls")
async def whoami(workspace: InWorkspace, user: Caller) -> dict[str, Any]:
    """The user that the token is of; this version has one, the administrator."""
    return {
        "workspace_id": workspace.id,
        "username": user,
        "email": "",
        "is_admin": True,
        "is_super_admin": True,
        "operator": False,
        "disabled": False,
        "groups": [],
        "folders": [],
    }
