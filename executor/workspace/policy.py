"""A workspace's policy: what its jobs may reach, run and use."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, field_validator

from executor.script import check_limits
from executor.settings import Bound, LimitBounds

Port = Annotated[int, Field(ge=1, le=65535)]


class Network(BaseModel):
    """An address range that jobs with egress may reach, and on which TCP ports (none given: all)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    cidr: str
    ports: list[Port] = []

    @field_validator("cidr")
    @classmethod
    def _is_network(cls, cidr: str) -> str:
        try:
            return str(ipaddress.ip_network(cidr))
        except ValueError as error:
            raise ValueError(f"{error}; write for example 10.0.0.0/8") from error


class Policy(BaseModel):
    """`networks` for egress, `images` allowed (patterns; absent: the instance's), maxima, concurrency.

    `validate_args` false: input specs (docs/openflow.md section 6.4) fill defaults and refuse nothing.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    networks: list[Network] = []
    images: list[str] | None = None
    limits: dict[str, float] = {}
    concurrency: PositiveInt | None = None
    validate_args: bool = True


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
