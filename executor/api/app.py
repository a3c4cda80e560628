"""The FastAPI application: routes, errors, documentation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi_offline import FastAPIOffline

from executor import __version__
from executor.api import (
    absent,
    approvals,
    auditing,
    cancel,
    deployed,
    edge,
    flows,
    instance,
    jobs,
    library,
    listing,
    problems,
    states,
    submit,
    tokens,
    updates,
    users,
    workspaces,
)
from executor.api.approve import routes as approve
from executor.api.context import Context
from executor.api.rights import by_endpoint

Service = Callable[[], AbstractAsyncContextManager[Context]]
"""Starts the service's parts when entered, and stops them when left."""

ABOUT = """
Runs scripts, each in its own fresh, hardened container, and flows of them (OpenFlow), durably.

* A script: `POST /api/w/{workspace}/jobs/run_wait_result/preview`
* A flow: `POST /api/w/{workspace}/jobs/run/preview_flow`, then `jobs_u/getupdate_sse/{id}` to follow it
* What is stored: `scripts/create`, `flows/create`, then `jobs/run/p/{path}`, `jobs/run/f/{path}`

Send a token as `Authorization: Bearer TOKEN`: the instance's own, or one of `POST /api/users/tokens/create`.
"""
TAGS = {
    "instance": "The service itself: health, version, languages.",
    "workspaces": "Workspaces and their policies.",
    "tokens": "Who may call, what they may do, where and until when.",
    "submitting": "Running scripts and flows, at once or with the result awaited.",
    "jobs": "Single jobs, scripts' and flows': their state, log, result; following and cancelling them.",
    "lists": "Jobs by what they have in common.",
    "flows": "Flows: stored by path; runs restarted, results of their steps.",
    "approvals": "Links with which people, without a token, approve what a flow waits for.",
    "scripts": "Scripts stored by path, in versions.",
    "variables": "Texts that scripts and flows use, also secret ones.",
    "resources": "JSON values that scripts and flows use, such as connections.",
}


def build(service: Service) -> FastAPI:
    """The application; `service` gives its context for as long as it runs."""
    app = FastAPIOffline(
        title="executor",
        version=__version__,
        description=ABOUT,
        openapi_tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        lifespan=_with_context(service),
    )
    app.state.rights = by_endpoint()
    app.add_middleware(auditing.Auditing)
    app.add_middleware(edge.Edge, pages=_policies(app))
    problems.install(app)
    app.include_router(instance.open_router, tags=["instance"])
    app.include_router(approve.router)
    api = APIRouter(prefix="/api", responses=problems.DESCRIBED)
    api.include_router(instance.router, tags=["instance"])
    api.include_router(workspaces.router, tags=["workspaces"])
    api.include_router(tokens.router, tags=["tokens"])
    api.include_router(auditing.router, tags=["instance"])
    in_workspace = APIRouter(prefix="/w/{workspace}")
    in_workspace.include_router(submit.router, tags=["submitting"])
    in_workspace.include_router(deployed.router, tags=["submitting"])
    in_workspace.include_router(library.router)
    in_workspace.include_router(flows.router, tags=["flows"])
    in_workspace.include_router(updates.router, tags=["jobs"])
    in_workspace.include_router(jobs.router, tags=["jobs"])
    in_workspace.include_router(cancel.router, tags=["jobs"])
    in_workspace.include_router(listing.router, tags=["lists"])
    in_workspace.include_router(approvals.router, tags=["approvals"])
    in_workspace.include_router(approvals.open_router, tags=["approvals"])
    in_workspace.include_router(states.router, tags=["jobs"])
    in_workspace.include_router(users.router, tags=["instance"])
    in_workspace.include_router(auditing.in_workspace, tags=["workspaces"])
    in_workspace.include_router(absent.router)
    api.include_router(in_workspace)
    app.include_router(api)
    return app


def _policies(app: FastAPI) -> dict[str, bytes]:
    """What the pages of the documentation may do; each is rendered once, for the hash of its script."""
    files = edge.FILES.rstrip("/")
    swagger = get_swagger_ui_html(
        openapi_url=str(app.openapi_url),
        title=f"{app.title} - Swagger UI",
        oauth2_redirect_url=app.swagger_ui_oauth2_redirect_url,
        swagger_js_url=f"{files}/swagger-ui-bundle.js",
        swagger_css_url=f"{files}/swagger-ui.css",
        swagger_favicon_url=f"{files}/favicon.png",
        swagger_ui_parameters=app.swagger_ui_parameters,
    )
    return {"/docs": edge.policy_of_page(bytes(swagger.body)), "/redoc": edge.policy_of_page(b"")}


def _with_context(service: Service) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service() as context:
            app.state.context = context
            yield

    return lifespan
