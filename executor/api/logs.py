"""The log of any job: a script's own, a flow's made of its steps'."""

from __future__ import annotations

from executor.api.context import Context
from executor.jobs import flowlogs
from executor.jobs.flowlogs import FlowLog
from executor.jobs.job import Job

MORE = "\n--- MORE: GET jobs_u/getupdate/{id}?log_offset={offset} ---\n"


async def log_of(ctx: Context, job: Job, offset: int = 0) -> FlowLog:
    """The log from character `offset` on; of a flow's at most `flowlogs.CHARS_MAX` characters."""
    if job.is_flow:
        return await ctx.desk.database.read(flowlogs.read, job, offset)
    output = await ctx.desk.output(job.id, "log", offset)
    return FlowLog(output.text, output.offset, has_more=False)


async def whole_log(ctx: Context, job: Job, *, everything: bool = False) -> str:
    """The log from its beginning; one that is too long for an answer ends with where the rest is.

    With `everything` also what runs beside a flow's first step that has not ended.
    """
    if job.is_flow and everything:
        found = await ctx.desk.database.read(lambda c: flowlogs.read(c, job, everything=True))
    else:
        found = await log_of(ctx, job)
    more = MORE.format(id=job.id, offset=found.offset) if found.has_more else ""
    return found.text + more
