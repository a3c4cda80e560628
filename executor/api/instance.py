"""The instance itself: health, readiness, metrics, version, languages."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from executor import __version__, telemetry
from executor.api.context import Caller, Ctx
from executor.errors import Unavailable
from executor.script import compact_json

open_router = APIRouter()
router = APIRouter()


@open_router.get("/health", summary="Whether the process lives")
async def health() -> dict[str, str]:
    """Always 200; touches nothing."""
    return {"status": "ok"}


@open_router.get("/ready", summary="Whether jobs can run", responses={503: {"description": "Not ready"}})
async def ready(ctx: Ctx) -> Response:
    """200 only when the engine, the database and every image are there; else 503 saying what is not."""
    checks = await ctx.checks()
    good = all(check.ok for check in checks)
    shown = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks]
    return Response(
        compact_json({"ready": good, "checks": shown}), 200 if good else 503, media_type="application/json"
    )


@open_router.get("/metrics", summary="Metrics for Prometheus", response_class=PlainTextResponse)
async def metrics(ctx: Ctx) -> Response:
    """Counters and histograms in Prometheus' text format."""
    with suppress(Unavailable):  # a database that is away must not hide the other figures
        telemetry.jobs_queued.set(await ctx.desk.waiting())
    return Response(generate_latest(telemetry.registry), media_type=CONTENT_TYPE_LATEST)


@open_router.get("/api/version", summary="This version", response_class=PlainTextResponse)
async def version() -> Response:
    """`executor X.Y.Z`."""
    return PlainTextResponse(f"executor {__version__}")


@router.get("/runtimes", summary="The languages of this instance")
async def runtimes(ctx: Ctx, _: Caller) -> list[dict[str, Any]]:
    """Each with its names, image, network need and the least limits it boots under."""
    return [
        {
            "name": runtime.name,
            "title": runtime.manifest.title,
            "aliases": [alias for alias, name in ctx.runtimes.aliases.items() if name == runtime.name],
            "extensions": runtime.manifest.extensions,
            "image": await ctx.image_of(runtime),
            "network": runtime.manifest.network,
            "minimum": runtime.manifest.limits.minimum.model_dump(),
        }
        for runtime in ctx.runtimes
    ]
