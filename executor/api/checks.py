"""What several routes ask of a request: that its language has a runtime, that its flow is one."""

from __future__ import annotations

from typing import Any

from executor.api.context import Context
from executor.api.problems import shown
from executor.errors import BadInput
from executor.flows.document import Flow, FlowLimits, read_flow
from executor.runtimes import Runtime


def runtime_of(language: str, ctx: Context) -> Runtime:
    """The runtime of a language; raises BadInput naming those there are."""
    runtime = ctx.runtimes.find(language)
    if runtime is None:
        raise BadInput(
            f"language: {shown(language)} has no runtime here",
            field="language",
            remedy=f"use one of {', '.join(ctx.runtimes.names())}",
        )
    return runtime


def flow_of(value: Any, ctx: Context) -> Flow:
    """The flow that a document with ids describes; raises BadInput with the place of what is wrong."""
    return read_flow(
        value,
        languages=ctx.runtimes.canonical,
        limits=FlowLimits.of(ctx.settings),
        supported=ctx.runtimes.names(),
    )
