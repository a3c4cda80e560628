"""What users store in a workspace, over HTTP: scripts, flows, variables, resources."""

from fastapi import APIRouter

from executor.api.library import flows, resources, scripts, variables

router = APIRouter()
router.include_router(scripts.router, prefix="/scripts", tags=["scripts"])
router.include_router(flows.router, prefix="/flows", tags=["flows"])
router.include_router(variables.router, prefix="/variables", tags=["variables"])
router.include_router(resources.router, prefix="/resources", tags=["resources"])
