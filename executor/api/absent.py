"""What Windmill's clients may ask for and this service does not have: said so, instead of a bare 404."""

from __future__ import annotations

from fastapi import APIRouter

from executor.api.context import InWorkspace
from executor.errors import NotFound

router = APIRouter(include_in_schema=False)


@router.get("/job_helpers/{rest:path}")
@router.post("/job_helpers/{rest:path}")
@router.delete("/job_helpers/{rest:path}")
async def object_storage(rest: str, _: InWorkspace) -> None:
    """Always 404."""
    raise NotFound(
        f"job_helpers/{rest}: this service has no object storage",
        remedy="pass values in arguments and results; steps with `same_worker` share files in ./shared",
    )


@router.get("/oidc/token/{rest:path}")
@router.post("/oidc/token/{rest:path}")
async def oidc(rest: str, _: InWorkspace) -> None:
    """Always 404."""
    raise NotFound(
        "oidc/token: this service issues no OIDC tokens", remedy="keep credentials in a secret variable"
    )
