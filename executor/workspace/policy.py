"""A workspace's policy: what its jobs may reach, run and use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator

from executor.reach import Reach
from executor.script import check_limits
from executor.settings import Bound, LimitBounds

NETWORKS_MAX = 256
Port = Annotated[int, Field(ge=1, le=65535)]


RuntimeClass = Literal["runc", "crun", "runsc"]
"""The OCI runtimes that a policy may name; whether the host has one is for the engines to find out."""


class Network(BaseModel):
    """An address range that jobs with egress may reach, and on which TCP ports (none given: all)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    cidr: str
    ports: list[Port] = []

    @field_validator("cidr")
    @classmethod
    def _is_network(cls, cidr: str) -> str:
        try:
            return Reach(cidr).cidr
        except ValueError as error:
            raise ValueError(f"{error}; write for example 10.0.0.0/8") from error

    @property
    def reach(self) -> Reach:
        """The range as a plain value."""
        return Reach(self.cidr, tuple(self.ports))


class Egress(BaseModel):
    """Lower limits for jobs with egress than the instance's (`EXECUTOR_EGRESS_…`); of two the lower counts."""

    model_config = ConfigDict(extra="forbid", strict=True)

    connections: PositiveInt | None = None
    connections_per_s: PositiveInt | None = None
    lookups_per_s: PositiveInt | None = None


class Policy(BaseModel):
    """`networks` and limits for egress, `images` allowed (patterns), maxima, concurrency.

    Where `networks` or `images` are absent, the instance's count; an empty list allows none.
    `runtime_class` is the OCI runtime of all the workspace's containers; absent: the host's best.
    `validate_args` false: input specs (docs/openflow.md section 6.4) fill defaults and refuse nothing.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    networks: Annotated[list[Network], Field(max_length=NETWORKS_MAX)] | None = None
    egress: Egress = Egress()
    images: list[str] | None = None
    limits: dict[str, float] = {}
    concurrency: PositiveInt | None = None
    validate_args: bool = True
    runtime_class: RuntimeClass | None = None


def check_policy(policy: Policy, bounds: LimitBounds) -> None:
    """Raise BadInput if the policy's limits are unknown or above the instance's maxima."""
    check_limits(policy.limits, bounds, "policy.limits")


def bounded_by(bounds: LimitBounds, limits: Mapping[str, Any]) -> LimitBounds:
    """The instance's bounds with a workspace's lower maxima."""
    return bounds.model_copy(
        update={
            key: Bound(default=min(bound.default, limits[key]), maximum=min(bound.maximum, limits[key]))
            for key in limits
            if (bound := getattr(bounds, key, None)) is not None
        }
    )
