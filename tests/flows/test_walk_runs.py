"""What holds for whole runs: paths, time limits, caches, restarts, preprocessors (docs/openflow.md 1.1, 1.9, 3.5)."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from typing import Any
from uuid import uuid4

import pytest

from tests.flows.running import (
    Flows,
    branchone,
    call,
    const,
    counted,
    counting,
    echo,
    fails,
    forloop,
    ident,
    inner,
    js,
    retry,
    script,
    static,
    stored,
    types_of,
)

pytestmark = pytest.mark.anyio


# ------------------------------------------------------------ jobs of a run


async def test_paths_of_jobs(flows: Flows) -> None:
    """`<flow path>/<id>`, in a loop `<flow path>/loop-<i>/<id>`, or what the script says."""
    named = script("n", {"result": 1}, fields={"path": "f/own/name"})
    job = await flows.run(
        const("a", 1),
        named,
        forloop("l", [1, 2], const("b", 1), forloop("m", [1], const("c", 1))),
        branchone("o", ("true", [const("d", 1)])),
        path="f/x/flow",
    )
    paths: defaultdict[str, list[str]] = defaultdict(list)
    for made in await flows.jobs(job):
        paths[made["flow_step_id"]].append(made["script_path"])
    assert job["script_path"] == "f/x/flow"
    assert paths["a"] == ["f/x/flow/a"]
    assert paths["n"] == ["f/own/name"]
    assert paths["b"] == ["f/x/flow/loop-0/b", "f/x/flow/loop-1/b"]
    assert paths["c"] == ["f/x/flow/loop-0/loop-0/c", "f/x/flow/loop-1/loop-0/c"]
    assert paths["d"] == ["f/x/flow/d"]


@pytest.mark.parametrize(("flow_tag", "tag"), [(None, "mine"), ("flow", "mine"), ("gpu", "gpu")])
async def test_tags(flows: Flows, flow_tag: str | None, tag: str) -> None:
    """A flow's own tag, other than `flow`, is given to all steps."""
    extra: dict[str, Any] = {} if flow_tag is None else {"tag": flow_tag}
    job = await flows.run(script("a", {"result": 1}, fields={"tag": "mine"}), const("b", 1), **extra)
    tags = {made["flow_step_id"]: made["tag"] for made in await flows.jobs(job)}
    assert tags["a"] == tag
    assert tags["b"] == (flow_tag if flow_tag == "gpu" else "python3")
    assert job["tag"] == (flow_tag or "flow")


async def test_priorities(flows: Flows) -> None:
    """The step's overrides the flow's, for what is inside it too; the script's own is between the two."""
    path = f"f/priority/x{uuid4().hex}"
    await flows.store_script(path, {"result": 1}, priority=60)
    await flows.store(path, const("in", 1))
    await flows.store(path + "own", const("own", 1), priority=20)
    job = await flows.run(
        const("a", 1, priority=90),
        const("b", 1),
        stored("s", path),
        stored("t", path, priority=70),
        forloop("l", [1], const("looped", 1), priority=80),
        branchone("o", ("true", [const("chosen", 1)])),
        inner("i", path),
        inner("k", path + "own"),
        priority=40,
    )
    found = {made["flow_step_id"]: made["priority"] for made in await flows.jobs(job)}
    said = {"a": 90, "b": 40, "s": 60, "t": 70, "looped": 80, "chosen": 40, "in": 40, "own": 20}
    assert {step: found[step] for step in said} == said
    assert job["priority"] == 40
    job = await flows.run(inner("k", path + "own", priority=95))
    assert {made["flow_step_id"]: made["priority"] for made in await flows.jobs(job)}["own"] == 95


@pytest.mark.parametrize("timeout", [7, static(7), js("flow_input.t + results.a")])
async def test_a_steps_time_limit(flows: Flows, timeout: Any) -> None:
    """A number or a transform, in seconds."""
    job = await flows.run(const("a", 3), const("b", 1, timeout=timeout), args={"t": 4})
    limits = {made["flow_step_id"]: made["limits"]["timeout_s"] for made in await flows.jobs(job)}
    assert limits["b"] == 7
    assert limits["a"] != 7


async def test_a_time_limit_above_the_instances_is_ignored(flows: Flows) -> None:
    """The step runs under the default; a warning in its log says so, before what the script writes."""
    spoken = script("b", {"log": "spoken\n"}, {"result": 1}, timeout=10_000_000)
    job = await flows.run(spoken, const("a", 1))
    b, a = await flows.jobs(job)
    assert b["limits"] == a["limits"]
    assert await flows.log(b) == (
        "WARNING: the timeout of 1e+07 s is ignored: it is above the maximum of 3600 s (limits.timeout_s); "
        "300 s apply\nspoken\n"
    )
    assert await flows.log(a) == ""


async def test_a_steps_time_limit_overrides_the_scripts_own(flows: Flows) -> None:
    """Ignored, it leaves the script its own."""
    path = f"f/timeout/x{uuid4().hex}"
    await flows.store_script(path, {"result": 1}, timeout=50)
    limits = []
    for own in (None, 7, 10_000_000):
        job = await flows.run(stored("a", path, **({} if own is None else {"timeout": own})))
        limits.append((await flows.jobs(job))[0]["limits"]["timeout_s"])
    assert limits == [50, 7, 50]


async def test_debouncing_is_ignored_and_the_log_says_so(flows: Flows) -> None:
    """In one line; of an inner flow in its own job's."""
    path = f"f/debounce/x{uuid4().hex}"
    await flows.store(path, ident("a"), debounce_key="k")
    job = await flows.run(inner("i", path), debounce_delay_s=5, debounce_key="k")
    own, _, of_steps = (await flows.log(job)).partition("--- STEP")
    assert own == "WARNING: debounce_delay_s and debounce_key ignored: flows are not debounced here\n"
    inside = next(made for made in await flows.jobs(job) if made["flow_step_id"] == "i")
    assert await flows.log(inside) == "WARNING: debounce_key ignored: flows are not debounced here\n"
    assert of_steps.endswith(await flows.log(inside))


@pytest.mark.parametrize("timeout", [static("soon"), static(-1), js("0")])
async def test_a_time_limit_that_is_none_fails_the_step(flows: Flows, timeout: Any) -> None:
    """With a message that names the field."""
    assert (
        "timeout: expected a positive number"
        in (await flows.error(const("b", 1, timeout=timeout)))["message"]
    )


async def test_a_timed_out_step_is_a_failure(flows: Flows) -> None:
    """Not a cancellation: the failure module runs."""
    late = script("a", {"stopped": "timeout"}, timeout=3)
    job = await flows.run(late, failure_module=echo("failure", "error.reason"))
    assert (job["status"], job["result"]) == ("failure", {"x": "timeout"})
    made = (await flows.jobs(job))[0]
    assert (made["canceled_by"], made["canceled_reason"]) == ("timeout", "duration > 3")


@pytest.mark.parametrize(("own", "whose"), [(3, "job-specific"), (None, "instance-wide job")])
async def test_whose_time_limit_it_was(flows: Flows, own: int | None, whose: str) -> None:
    """The message says so."""
    late = script("a", {"stopped": "timeout"}, **({} if own is None else {"timeout": own}))
    said = (await flows.error(late))["message"]
    assert said == (
        f"execution error:\njob process terminated due to timeout after exceeding {whose} duration limit"
    )


# ------------------------------------------------------------ early_return, delete_after_use


async def test_an_early_return_answers_before_the_run_ends(flows: Flows) -> None:
    """With that step's result; the run goes on."""
    body = {
        "value": {
            "modules": [const("a", {"v": 1}), script("b", {"sleep": 0.5}, {"result": "late"})],
            "early_return": "a",
        }
    }
    response = await flows.service.http.post("/api/w/main/jobs/run_wait_result/preview_flow", json=body)
    assert response.json() == {"v": 1}
    listed = (await flows.service.get("jobs/list", job_kinds="flowpreview", has_null_parent=True)).json()
    newest = max(listed, key=lambda job: job["created_at"])
    assert newest["type"] == "QueuedJob"
    assert (await flows.service.ended(newest["id"]))["result"] == "late"


async def test_an_early_return_may_be_a_step_of_a_branch(flows: Flows) -> None:
    """A node id is enough; a step of an inner flow is another node."""
    path = f"f/early/x{uuid4().hex}"
    await flows.store(path, const("a", "not mine"))
    late = script("b", {"sleep": 0.5}, {"result": "late"})
    value = {"modules": [inner("i", path), branchone("o", ("true", [const("a", {"v": 1}), late]))]}
    assert json.loads(
        await flows.post("jobs/run_wait_result/preview_flow", value={**value, "early_return": "a"})
    ) == {"v": 1}


@pytest.mark.parametrize("ok", [True, False])
async def test_what_is_deleted_after_use(flows: Flows, ok: bool) -> None:
    """When the run has ended: the step's args, result and log; however it ended, wherever the step is."""
    secret = script("s", {"log": "secret\n"}, {"echo": True}, args={"x": "'secret'"}, delete_after_use=True)
    last = echo("after", "results.s.x") if ok else fails("after")
    job = await flows.run(branchone("o", ("true", [secret, ident("i")])), last)
    assert job["success"] is ok
    made = next(found for found in await flows.jobs(job) if found["flow_step_id"] == "s")
    whole = await flows.service.job(made["id"])
    assert (whole["args"], whole["result"], whole["logs"], whole["deleted"]) == ({}, {}, "##DELETED##", True)


async def test_what_is_deleted_wherever_it_is(flows: Flows) -> None:
    """In inner flows, in copied failure modules, of every attempt and iteration; no other step of the same id."""
    path = f"f/deleted/x{uuid4().hex}"
    await flows.store(path, const("open", 2), const("s", 1, delete_after_use=True))
    job = await flows.run(
        const("open", 3, delete_after_use=True),
        inner("i", path),
        forloop("l", [1, 2], fails("x", retry=retry(1)), delete_after_use=True, continue_on_error=True),
        fails("r", retry=retry(1), delete_after_use=True, continue_on_error=True),
        failure_module=const("failure", 4, delete_after_use=True),
    )
    seen = defaultdict(list)
    for made in await flows.jobs(job):
        whole = await flows.service.job(made["id"])
        seen[f"{made['script_path'] or ''}{made['flow_step_id']}"].append(whole["deleted"])
    assert seen["open"] == [True]
    assert seen[f"{path}/ss"] == [True]
    assert seen[f"{path}/openopen"] == [False]
    assert (seen["l"], seen["x"], seen["r"]) == ([True], [False, False], [True, True])
    assert seen["failure-0"] == [True]
    found = await flows.service.get(f"jobs/result_by_id/{job['id']}/l")
    assert found.json() == {}


async def test_what_others_made_of_a_deleted_result_stays(flows: Flows) -> None:
    """Also a big one, which is stored once for all jobs that have it."""
    big = ["x" * 20_000]
    job = await flows.run(const("s", big, delete_after_use=True), ident("i"), ident("j"))
    results = {}
    for made in await flows.jobs(job):
        results[made["flow_step_id"]] = (await flows.service.job(made["id"]))["result"]
    assert (job["result"], results) == (big, {"s": {}, "i": big, "j": big})


async def test_a_cancelled_run_deletes_too(flows: Flows) -> None:
    """Whatever way the run ends."""
    secret = script("s", {"echo": True}, args={"x": "'secret'"}, delete_after_use=True)
    run = await flows.start(secret, script("b", {"sleep": 30}))
    await asyncio.sleep(0.2)
    await flows.service.http.post(f"/api/w/main/jobs_u/queue/cancel/{run}", json={})
    job = await flows.service.ended(run)
    made = next(found for found in await flows.jobs(job) if found["flow_step_id"] == "s")
    assert (await flows.service.job(made["id"]))["args"] == {}


# ------------------------------------------------------------ preprocessor


async def test_a_preprocessor_makes_the_flows_input(flows: Flows) -> None:
    """It gets the raw args and its own entry function; what it returns replaces them."""

    def preprocessor(args: dict[str, Any]) -> Any:
        return {"entry": args["_ENTRYPOINT_OVERRIDE"], "raw": args["a"]}

    flows.functions["pre"] = preprocessor
    job = await flows.run(
        echo("a", "flow_input"), args={"a": 1}, preprocessor_module=call("preprocessor", "pre")
    )
    assert job["result"] == {"x": {"entry": "preprocessor", "raw": 1}}
    assert (job["args"], job["preprocessed"]) == ({"entry": "preprocessor", "raw": 1}, True)
    assert job["flow_status"]["preprocessor_module"]["type"] == "Success"


@pytest.mark.parametrize(("given", "args"), [(None, {}), (5, {"value": 5}), ([1], {"value": [1]})])
async def test_what_a_preprocessor_may_return(flows: Flows, given: Any, args: dict[str, Any]) -> None:
    """null is no input, what is no object becomes `value`."""
    job = await flows.run(ident("a"), args={"a": 1}, preprocessor_module=const("preprocessor", given))
    assert (job["result"], job["args"]) == (args, args)


async def test_a_preprocessor_that_fails_fails_the_flow(flows: Flows) -> None:
    """Nothing else runs."""
    job = await flows.run(const("a", 1), preprocessor_module=fails("preprocessor"))
    assert (job["success"], job["result"]["error"]["message"]) == (False, "boom")
    assert types_of(job) == {"a": "WaitingForPriorSteps"}
    assert job["flow_status"]["step"] == -1


async def test_a_preprocessor_is_shown_after_a_pause_too(flows: Flows) -> None:
    """The run was put down in between, and walked again."""
    runs = counting(flows)
    job = await flows.run(
        counted("a", "1", sleep=static(1.3)),
        ident("b"),
        preprocessor_module=call("preprocessor", "count", args={}),
    )
    assert job["flow_status"]["preprocessor_module"]["type"] == "Success"
    assert (runs["None"], runs["a"]) == (1, 1)
