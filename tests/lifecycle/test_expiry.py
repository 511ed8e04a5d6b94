"""When a lease begins and ends, and who wins when it is extended."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.errors import Conflict, Invalid
from scheduler.lifecycle.expiry import LONGEST_TTL_SECONDS, due, expire, extend, lease
from scheduler.lifecycle.steps import ConditionKind
from scheduler.model import DesiredState, OnExpire, Sandbox, SandboxState
from tests.lifecycle.samples import NOW, sandbox


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("state", "begins"),
    [
        (SandboxState.CREATED, False),
        (SandboxState.STARTING, False),
        (SandboxState.RUNNING, True),
        (SandboxState.STOPPED, True),
        (SandboxState.ERROR, True),
        (SandboxState.DESTROYED, False),
    ],
)
def test_a_lease_begins_with_the_first_state_it_can_be_used_in(
    state: SandboxState, begins: bool
) -> None:
    assert lease(sandbox(state, ttl_seconds=60), NOW) == (at(60) if begins else None)
    assert lease(sandbox(state), NOW) is None


def test_a_lease_that_has_begun_is_left_alone() -> None:
    record = sandbox(SandboxState.RUNNING, ttl_seconds=60, expires_at=at(5))
    assert lease(record, at(30)) == at(5)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (sandbox(SandboxState.RUNNING, expires_at=at(0)), True),
        (sandbox(SandboxState.RUNNING, expires_at=at(0.001)), False),
        (sandbox(SandboxState.RUNNING), False),
        (
            sandbox(SandboxState.RUNNING, expires_at=at(0), desired_state=DesiredState.DESTROYED),
            False,
        ),
        (sandbox(SandboxState.DESTROYED, expires_at=at(0)), False),
    ],
)
def test_due_means_over_and_not_acted_on(record: Sandbox, expected: bool) -> None:
    assert due(record, NOW) is expected


def test_the_end_of_a_lease_destroys() -> None:
    ended = expire(sandbox(SandboxState.RUNNING, expires_at=NOW), NOW, 86_400)
    assert (ended.desired_state, ended.expires_at) == (DesiredState.DESTROYED, NOW)


def test_what_the_end_stopped_is_destroyed_later() -> None:
    record = sandbox(SandboxState.RUNNING, expires_at=NOW, on_expire=OnExpire.STOP)
    stopped = expire(record, NOW, 86_400)
    assert (stopped.desired_state, stopped.expires_at) == (DesiredState.STOPPED, at(86_400))
    assert [c.kind for c in stopped.conditions] == [ConditionKind.EXPIRED]
    assert not due(stopped, at(86_399))
    assert expire(stopped, at(86_400), 86_400).desired_state is DesiredState.DESTROYED


def test_an_extended_sandbox_is_stopped_again_at_its_new_end() -> None:
    record = sandbox(SandboxState.STOPPED, expires_at=NOW, on_expire=OnExpire.STOP)
    kept = extend(expire(record, NOW, 3600), 7200, at(10), None)
    assert (kept.expires_at, kept.conditions) == (at(7210), ())
    assert expire(kept, at(7210), 3600).desired_state is DesiredState.STOPPED


def test_an_extension_never_shortens() -> None:
    record = sandbox(SandboxState.RUNNING, ttl_seconds=600, expires_at=at(600))
    assert extend(record, 60, NOW, None).expires_at == at(600)
    assert extend(record, 601, NOW, None).expires_at == at(601)


def test_the_longest_time_allowed_is_granted() -> None:
    record = sandbox(SandboxState.RUNNING, expires_at=NOW)
    assert extend(record, 600, NOW, 600).expires_at == at(600)


def test_before_the_lease_begins_the_time_to_live_grows() -> None:
    assert extend(sandbox(ttl_seconds=60), 90, NOW, None).ttl_seconds == 90
    assert extend(sandbox(ttl_seconds=60), 30, NOW, None).ttl_seconds == 60


def test_no_end_stays_no_end() -> None:
    record = sandbox(SandboxState.RUNNING)
    assert extend(record, 60, NOW, None) is record


@pytest.mark.parametrize(
    ("ttl", "most"),
    [(0, None), (-1, None), (61, 60), (10**18, None), (LONGEST_TTL_SECONDS + 1, None)],
)
def test_a_time_out_of_bounds_is_refused(ttl: int, most: int | None) -> None:
    with pytest.raises(Invalid) as refused:
        extend(sandbox(SandboxState.RUNNING, expires_at=NOW), ttl, NOW, most)
    assert str(most or LONGEST_TTL_SECONDS) in str(refused.value.details["ttl_seconds"])


@pytest.mark.parametrize(
    "record",
    [
        sandbox(SandboxState.DESTROYED),
        sandbox(SandboxState.RUNNING, desired_state=DesiredState.DESTROYED, expires_at=NOW),
    ],
)
def test_an_extension_loses_against_a_reap(record: Sandbox) -> None:
    with pytest.raises(Conflict) as refused:
        extend(record, 60, NOW, None)
    assert "no longer" in refused.value.message


@given(
    end=st.integers(-1000, 100_000),
    ttl=st.integers(1, LONGEST_TTL_SECONDS),
    passed=st.integers(0, 100_000),
)
def test_extending_only_ever_adds_time(end: int, ttl: int, passed: int) -> None:
    record = sandbox(SandboxState.RUNNING, ttl_seconds=1, expires_at=at(end))
    extended = extend(record, ttl, at(passed), None)
    assert extended.expires_at is not None
    assert extended.expires_at >= at(end)
    assert extended.expires_at >= at(passed + ttl)
    assert not due(extended, at(passed))
