"""Which right each route needs. One that is not named here needs the highest."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.routing import APIRoute

from executor.api import (
    absent,
    approvals,
    auditing,
    cancel,
    deployed,
    flows,
    instance,
    jobs,
    listing,
    states,
    submit,
    tokens,
    updates,
    users,
    workspaces,
)
from executor.api.library import flows as stored_flows
from executor.api.library import resources, scripts, variables
from executor.workspace.tokens import Right

READ, RUN, ADMIN = Right.READ, Right.RUN, Right.ADMIN
BY_ROUTER: tuple[tuple[APIRouter, Right, Right], ...] = (
    (instance.router, READ, ADMIN),
    (workspaces.router, READ, ADMIN),
    (auditing.router, ADMIN, ADMIN),
    (auditing.in_workspace, ADMIN, ADMIN),
    (tokens.router, READ, READ),  # a token makes none that may do more than itself
    (submit.router, RUN, RUN),
    (deployed.router, RUN, RUN),
    (flows.router, READ, RUN),
    (updates.router, READ, RUN),
    (jobs.router, READ, RUN),
    (cancel.router, READ, RUN),
    (listing.router, READ, RUN),
    (approvals.router, RUN, RUN),  # who has a link may approve
    (states.router, READ, RUN),
    (users.router, READ, RUN),
    (absent.router, READ, READ),
    (scripts.router, READ, ADMIN),
    (stored_flows.router, READ, ADMIN),
    (variables.router, READ, RUN),
    (resources.router, READ, RUN),
)
"""A router, what its GET routes need, and what its other routes need."""
SECRETS = (variables.get, variables.get_value, resources.get_value_interpolated)
"""They give secrets away, which whoever may run a script may read with one."""


def by_endpoint() -> dict[object, Right]:
    """The right that each route needs, by the function that serves it."""
    rights: dict[object, Right] = dict.fromkeys(SECRETS, RUN)
    for router, to_read, to_change in BY_ROUTER:
        for route in _routes(router):
            needed = to_read if (route.methods or set()) <= {"GET", "HEAD"} else to_change
            rights.setdefault(route.endpoint, needed)
    return rights


def _routes(router: APIRouter) -> Iterator[APIRoute]:
    return (route for route in router.routes if isinstance(route, APIRoute))
