"""A workspace's policy: checked when it is made, and only ever stricter than the instance."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from executor.errors import BadInput
from executor.reach import EgressLimits, Reach
from executor.script import resolve_limits
from executor.settings import Bound, LimitBounds
from executor.workspace.policy import Policy, bounded_by, check_policy

BOUNDS = LimitBounds(cpus=Bound(default=1, maximum=4))


def test_an_empty_policy_changes_nothing() -> None:
    """The instance's networks, images and limits, all slots."""
    policy = Policy()
    check_policy(policy, BOUNDS)
    assert (policy.networks, policy.images, policy.concurrency) == (None, None, None)
    assert bounded_by(BOUNDS, policy.limits) == BOUNDS


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"concurrency": 0}, ("concurrency",)),
        ({"concurrency": "1"}, ("concurrency",)),
        ({"concurrency": True}, ("concurrency",)),
        ({"egress": {"connections": 0}}, ("egress", "connections")),
        ({"egress": {"speed": 1}}, ("egress", "speed")),
        ({"networks": [{"cidr": "10.0.0.1/8"}]}, ("networks", 0, "cidr")),
        ({"networks": [{"cidr": "everywhere"}]}, ("networks", 0, "cidr")),
        ({"networks": [{"cidr": "fe80::1%x } accept"}]}, ("networks", 0, "cidr")),
        ({"networks": [{"cidr": "10.0.0.1"}] * 257}, ("networks",)),
        ({"networks": [{"cidr": "::/0", "ports": [0]}]}, ("networks", 0, "ports", 0)),
        ({"networks": [{"cidr": "::/0", "ports": [65536]}]}, ("networks", 0, "ports", 0)),
        ({"networks": [{"cidr": "::/0", "hosts": []}]}, ("networks", 0, "hosts")),
        ({"networks": "all"}, ("networks",)),
        ({"images": "*"}, ("images",)),
        ({"limits": {"pids": "many"}}, ("limits", "pids")),
        ({"limit": {}}, ("limit",)),
        ({"runtime_class": "kata"}, ("runtime_class",)),
    ],
)
def test_a_wrong_member_is_named(said: dict[str, Any], field: tuple[str | int, ...]) -> None:
    """Misspelt members are refused: a policy that is not applied would be worse than none."""
    with pytest.raises(ValidationError) as caught:
        Policy.model_validate(said)
    assert caught.value.errors()[0]["loc"] == field


def test_networks_are_ranges_with_ports() -> None:
    """IPv4 and IPv6; no ports means all of them."""
    said = {"networks": [{"cidr": "10.0.0.0/8", "ports": [5432]}, {"cidr": "fd00::/8"}]}
    networks = Policy.model_validate(said).networks
    assert networks is not None
    assert [network.reach for network in networks] == [Reach("10.0.0.0/8", (5432,)), Reach("fd00::/8")]


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"disk": 1}, "disk"),
        ({"pids": 513}, "pids"),
        ({"pids": 0}, "pids"),
        ({"pids": 1.5}, "pids"),
        ({"timeout_s": -1}, "timeout_s"),
    ],
)
def test_a_limit_the_instance_would_not_give_is_refused(limits: dict[str, float], field: str) -> None:
    """By its place in the policy."""
    with pytest.raises(BadInput) as caught:
        check_policy(Policy(limits=limits), BOUNDS)
    assert caught.value.field == f"policy.limits.{field}"


keys = st.sampled_from(list(LimitBounds.model_fields))


@given(st.dictionaries(keys, st.integers(1, 10**9)))
def test_a_workspace_s_limits_only_ever_lower_the_instance_s(limits: dict[str, int]) -> None:
    """Maxima and defaults alike; a job that asks for nothing stays within both."""
    bounds = bounded_by(BOUNDS, limits)
    found = resolve_limits({}, bounds)
    for key in LimitBounds.model_fields:
        ours, theirs = getattr(BOUNDS, key), getattr(bounds, key)
        assert theirs.maximum == min(ours.maximum, limits.get(key, ours.maximum))
        assert theirs.default <= theirs.maximum
        assert getattr(found, key) <= theirs.maximum


def test_of_the_limits_for_egress_the_lower_ones_count() -> None:
    policy = Policy.model_validate({"egress": {"connections": 3, "lookups_per_s": 10**6}})
    assert EgressLimits(10, 20, 30).lowered(policy.egress.model_dump()) == EgressLimits(3, 20, 30)
    assert EgressLimits(1, 2, 3).lowered(Policy().egress.model_dump()) == EgressLimits(1, 2, 3)
