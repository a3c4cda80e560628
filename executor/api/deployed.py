"""Running what is stored: `jobs/run/p|h|f`, and the same with the answer awaited."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse

from executor.api.arguments import (
    DESCRIBED,
    ArgsParameters,
    ArgsQuery,
    Payload,
    arguments,
    event,
    read_payload,
)
from executor.api.checks import flow_of, runtime_of
from executor.api.context import Caller, Context, Ctx, InWorkspace
from executor.api.library.flows import flow_at
from executor.api.library.scripts import script_at, script_version
from executor.api.runs import fields_of_run, request_hash, scheduled_for
from executor.api.submit import FAILED, answer_at_end, answer_of, args_json
from executor.flows.document import Flow
from executor.flows.schema import apply_schema
from executor.jobs import store
from executor.jobs.cache import script_key
from executor.jobs.concurrency import Share
from executor.jobs.job import NewJob, new_id, now_us
from executor.script import Limits, check_limit, compact_json, resolve_limits
from executor.workspace.flows import StoredFlow
from executor.workspace.scripts import ScriptVersion
from executor.workspace.workspaces import Workspace

router = APIRouter()


@dataclass(frozen=True)
class Call:
    """A request that runs something stored."""

    request: Request
    workspace: Workspace
    query: ArgsQuery
    user: str
    ctx: Context


def call(request: Request, workspace: InWorkspace, query: ArgsParameters, user: Caller, ctx: Ctx) -> Call:
    """The request, as a dependency."""
    return Call(request, workspace, query, user, ctx)


Asked = Annotated[Call, Depends(call)]
RUN: dict[str, Any] = {"status_code": 201, "response_class": PlainTextResponse, "openapi_extra": DESCRIBED}
WAIT: dict[str, Any] = {"responses": FAILED, "openapi_extra": DESCRIBED}
WAIT_GET: dict[str, Any] = {"responses": FAILED}


@router.post("/jobs/run/p/{path:path}", summary="Run the script at a path", **RUN)
async def run_script(path: str, asked: Asked) -> Response:
    """Its latest version; answers the job's id at once."""
    return await _submit(asked, {"script": path})


@router.post("/jobs/run/h/{hash}", summary="Run a version of a script", **RUN)
async def run_version(hash: str, asked: Asked) -> Response:
    """As `jobs/run/p`, but exactly this version, also one that was replaced."""
    return await _submit(asked, {"version": hash.lower()})


@router.post("/jobs/run/f/{path:path}", summary="Run the flow at a path", **RUN)
async def run_flow(path: str, asked: Asked) -> Response:
    """Its latest version; answers the run's id at once."""
    return await _submit(asked, {"flow": path})


@router.post("/jobs/run_wait_result/p/{path:path}", summary="Run the script at a path and wait", **WAIT)
async def wait_for_script(path: str, asked: Asked) -> Response:
    """As `jobs/run/p`, but answer the result; a client that leaves cancels the job."""
    return await _answer(asked, {"script": path})


@router.get("/jobs/run_wait_result/p/{path:path}", summary="Run the script at a path and wait", **WAIT_GET)
async def get_script(path: str, asked: Asked) -> Response:
    """As the POST; the arguments are in the query."""
    return await _answer(asked, {"script": path})


@router.post("/jobs/run_wait_result/h/{hash}", summary="Run a version of a script and wait", **WAIT)
async def wait_for_version(hash: str, asked: Asked) -> Response:
    """As `jobs/run/h`, but answer the result; a client that leaves cancels the job."""
    return await _answer(asked, {"version": hash.lower()})


@router.post("/jobs/run_wait_result/f/{path:path}", summary="Run the flow at a path and wait", **WAIT)
async def wait_for_flow(path: str, asked: Asked) -> Response:
    """As `jobs/run/f`, but answer the result; a client that leaves cancels the run."""
    return await _answer(asked, {"flow": path})


@router.get("/jobs/run_wait_result/f/{path:path}", summary="Run the flow at a path and wait", **WAIT_GET)
async def get_flow(path: str, asked: Asked) -> Response:
    """As the POST; the arguments are in the query."""
    return await _answer(asked, {"flow": path})


async def _submit(asked: Call, what: dict[str, str]) -> Response:
    sent = await _sent(asked, what)
    if (known := await _known(asked, sent)) is not None:
        return PlainTextResponse(known, 201)
    new = await _new(asked, sent)
    await asked.ctx.desk.submit(new)
    return PlainTextResponse(new.id, 201)


async def _answer(asked: Call, what: dict[str, str]) -> Response:
    sent = await _sent(asked, what)
    if (known := await _known(asked, sent)) is not None:
        return await answer_of(asked.request, asked.ctx, asked.workspace.id, known)
    return await answer_at_end(asked.request, asked.ctx, await _new(asked, sent), asked.user)


# ------------------------------------------------------------ what was sent


@dataclass(frozen=True)
class Sent:
    """What the request runs (a `script`, a `version` or a `flow`), with what, and what tells it from others."""

    what: dict[str, str]
    payload: Payload
    args: dict[str, Any]
    hash: str


async def _sent(asked: Call, what: dict[str, str]) -> Sent:
    """The request, read; nothing that is stored is looked at. Raises BadInput and TooLarge."""
    request, query = asked.request, asked.query
    payload = await read_payload(request, query, asked.ctx.settings.request_mb)
    args = arguments(request, query, payload)
    own = ("job_id", "token")
    parameters = {name: text for name, text in request.query_params.items() if name not in own}
    return Sent(what, payload, args, request_hash({**what, "args": args, "parameters": parameters}, query))


async def _known(asked: Call, sent: Sent) -> str | None:
    """The job of this very request, sent before: it is the answer, whatever was stored or archived since.

    Raises Conflict if its `job_id` was used for another request.
    """
    if asked.query.job_id is None:
        return None
    job_id = str(asked.query.job_id)
    read = asked.ctx.desk.database.read
    return job_id if await read(store.is_stored, job_id, asked.workspace.id, sent.hash) else None


async def _new(asked: Call, sent: Sent) -> NewJob:
    """The request as a job to be; raises NotFound, and BadInput naming what is wrong."""
    match sent.what:
        case {"script": path}:
            return _new_job(asked, sent, await script_at(path, asked.workspace, asked.ctx))
        case {"version": hash}:
            return _new_job(asked, sent, await script_version(hash, asked.workspace, asked.ctx))
        case {"flow": path}:
            return _new_run(asked, sent, await flow_at(path, asked.workspace, asked.ctx))
        case _:
            raise AssertionError(f"BUG: nothing runs {sent.what}")


# ------------------------------------------------------------ scripts


def _new_job(asked: Call, sent: Sent, script: ScriptVersion) -> NewJob:
    """A script's version as a job to be; raises BadInput naming what is wrong."""
    query = asked.query
    runtime = runtime_of(script.language, asked.ctx)
    args = _checked(asked, script.schema, sent.args)
    share = Share.of(
        script.concurrent_limit,
        script.concurrency_window_s,
        script.concurrency_key,
        workspace_id=asked.workspace.id,
        kind="script",
        path=script.path,
        args=args,
    )
    return NewJob(
        **_common(asked, sent),
        kind="script",
        language=runtime.name,
        content=script.content,
        args=args_json(args),
        limits=_limits(asked, script.timeout_s),
        tag=query.tag or script.tag or runtime.name,
        path=script.path,
        lock=script.lock,
        script_hash=script.hash,
        priority=script.priority or 0,
        cache_key=_cache_key(script, args) if script.cache_ttl_s else None,
        cache_ttl_s=int(script.cache_ttl_s) if script.cache_ttl_s else None,
        **({} if share is None else share.columns),
    )


def _cache_key(script: ScriptVersion, args: dict[str, Any]) -> str:
    """The same as for a step of a flow."""
    texts = {name: compact_json(value) for name, value in args.items()}
    return script_key("script", [script.hash], texts)


def _limits(asked: Call, timeout_s: float | None) -> Limits:
    """The query's time limit wins; the script's own one counts unless it is above the workspace's maximum."""
    bounds = asked.ctx.workspaces.bounds(asked.workspace.id)
    if asked.query.timeout is not None:
        check_limit("timeout", asked.query.timeout, bounds.timeout_s.maximum, "query")
        timeout_s = asked.query.timeout
    is_allowed = timeout_s is not None and timeout_s <= bounds.timeout_s.maximum
    return resolve_limits({"timeout_s": timeout_s} if is_allowed else {}, bounds)


# ------------------------------------------------------------ flows


def _new_run(asked: Call, sent: Sent, stored: StoredFlow) -> NewJob:
    """A flow as a run to be; raises BadInput naming what is wrong."""
    query, ctx = asked.query, asked.ctx
    value = json.loads(stored.value)
    if query.skip_preprocessor:
        value.pop("preprocessor_module", None)
    flow = flow_of(value, ctx)
    if flow.preprocessor_module is not None:
        args = event(asked.request, sent.payload)
    else:
        args = _checked(asked, stored.schema, sent.args)
    common = _common(asked, sent)
    return NewJob(
        **common,
        kind="flow",
        content=compact_json(value).decode(),
        args=args_json(args),
        limits=resolve_limits({}, ctx.workspaces.bounds(asked.workspace.id)),
        tag=_flow_tag(query, stored, flow),
        path=stored.path,
        **fields_of_run(flow, value, common["id"], asked.workspace.id, stored.path, args),
    )


def _flow_tag(query: ArgsQuery, stored: StoredFlow, flow: Flow) -> str:
    return query.tag or stored.tag or flow.tag or "flow"


# ------------------------------------------------------------ both


def _checked(asked: Call, schema: str | None, args: dict[str, Any]) -> dict[str, Any]:
    """The arguments completed and checked by the input spec; raises BadInput naming the argument."""
    if schema is None:
        return args
    return apply_schema(json.loads(schema), args, check=asked.query.checks_args(asked.workspace))


def _common(asked: Call, sent: Sent) -> dict[str, Any]:
    """What any job says of the request that it comes from."""
    query, now = asked.query, now_us()
    return {
        "id": str(query.job_id) if query.job_id else new_id(),
        "workspace_id": asked.workspace.id,
        "request_hash": sent.hash,
        "created_by": asked.user,
        "created_at": now,
        "scheduled_for": scheduled_for(query, now),
        "parent_job": str(query.parent_job) if query.parent_job else None,
        "root_job": str(query.root_job) if query.root_job else None,
    }
