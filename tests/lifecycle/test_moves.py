"""A sandbox that is to move: who may, what comes next, and what its record says afterwards."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.lifecycle import expiry, moves, moving, outcomes
from scheduler.lifecycle.alternates import arriving, coming_up, only_built, yet_to_be_built
from scheduler.lifecycle.drift import judge
from scheduler.lifecycle.sightings import Absent, Doubt, Present, Seen, Unknown
from scheduler.lifecycle.steps import (
    Become,
    Build,
    Clear,
    ConditionKind,
    Limits,
    Move,
    Note,
    PowerOff,
    ShutDown,
    Start,
    Step,
    TearDown,
    Wait,
)
from scheduler.model import (
    Condition,
    DesiredState,
    DomainState,
    HostHealth,
    Image,
    ImageState,
    OnExpire,
    Phase,
    Sandbox,
    SandboxState,
    Snapshot,
    SnapshotKind,
    SnapshotState,
    StateReason,
)
from tests.lifecycle.samples import NOW, domain, host, mark, sandbox

LIMITS = Limits(shutdown_seconds=60)
RUNNING, STOPPED = SandboxState.RUNNING, SandboxState.STOPPED
UP, DOWN, GONE = DesiredState.RUNNING, DesiredState.STOPPED, DesiredState.DESTROYED
HERE = host(health=HostHealth.UP)
THERE = host(id="HST-2", name="beta", address="beta.example")
FAILING = Condition(kind=ConditionKind.FAILING, message="no room", since=NOW)
SILENT = Condition(kind=ConditionKind.HOST_UNREACHABLE, message="no answer", since=NOW)
ENDED = Condition(kind=ConditionKind.EXPIRED, message="ended", since=NOW)


def wished(state: SandboxState = RUNNING, **changes: object) -> Sandbox:
    desired = DOWN if state is STOPPED else UP
    values: dict[str, object] = {
        "desired_state": desired,
        "running_at": NOW,
        "move_asked_at": NOW,
        "move_to": "beta",
        "move_reason": "new disks",
        "move_drain_id": "DRN-1",
        **changes,
    }
    return sandbox(state, **values)


def seen(state: DomainState, reason: StateReason = StateReason.OTHER) -> Present:
    return Present(domain=domain(state, reason, marked=mark()))


def carrier(name: str, state: ImageState = ImageState.READY) -> Image:
    return Image(id="IMG-1", name=name, state=state, actor="a", created_at=NOW, updated_at=NOW)


ON, OFF, CRASHED = map(seen, (DomainState.RUNNING, DomainState.SHUT_OFF, DomainState.CRASHED))
PAUSED, DOWNWARD = map(seen, (DomainState.PAUSED, DomainState.SHUTTING_DOWN))
FULL = seen(DomainState.PAUSED, StateReason.IO_ERROR)
UNSEEN = Unknown(reason="no answer", doubt=Doubt.HOST_UNREACHABLE)
FOUND: dict[str, Any] = {"phase": Phase.MOVE, "phase_at": NOW}


def judged(record: Sandbox, look: Seen, *, after: float = 0) -> Step:
    return judge(record, look, now=NOW + timedelta(seconds=after), limits=LIMITS)


@pytest.mark.parametrize(
    ("record", "look", "step"),
    [
        (wished(), ON, Move),
        (wished(), PAUSED, Move),
        (wished(), FULL, Move),
        (wished(**FOUND), ON, ShutDown),
        (wished(**FOUND), PAUSED, PowerOff),
        (wished(**FOUND), FULL, PowerOff),
        (wished(phase=Phase.STOP, phase_at=NOW), ON, ShutDown),
        (wished(**FOUND, attempts=1), ON, Move),
        (wished(**FOUND, conditions=(FAILING,)), ON, Move),
        (wished(**FOUND, conditions=(SILENT,)), ON, ShutDown),
        (wished(conditions=(SILENT,)), ON, Clear),
        (wished(STOPPED, conditions=(SILENT, FAILING)), OFF, Clear),
        (wished(desired_state=DOWN), ON, ShutDown),
        (wished(), OFF, Become),
        (wished(), CRASHED, Become),
        (wished(), DOWNWARD, ShutDown),
        (wished(), Absent(), Become),
        (wished(), UNSEEN, Note),
        (wished(STOPPED), OFF, Move),
        (wished(STOPPED), CRASHED, Move),
        (wished(STOPPED, desired_state=UP), OFF, Move),
        (wished(STOPPED), ON, ShutDown),
        (wished(STOPPED), Absent(), Become),
        (wished(STOPPED), UNSEEN, Note),
        (wished(STOPPED, desired_state=GONE), OFF, TearDown),
        (wished(SandboxState.CREATED), Absent(), Build),
    ],
)
def test_each_look_has_its_step(record: Sandbox, look: Seen, step: type[Step]) -> None:
    assert isinstance(judged(record, look), step)


def test_a_failed_try_is_waited_out() -> None:
    for record, look in ((wished(), ON), (wished(STOPPED), OFF)):
        tried = outcomes.failed(replace(record, phase=Phase.MOVE), "no room", now=NOW)
        assert isinstance(judged(tried, look), Wait)
        assert isinstance(judged(tried, look, after=2), Move)


def test_off_or_lost_it_keeps_what_its_owner_wants() -> None:
    off = judged(wished(), OFF)
    assert isinstance(off, Become)
    assert (off.state, off.desired) == (STOPPED, None)
    lost = judged(wished(), Absent())
    assert isinstance(lost, Become)
    after = outcomes.become(wished(), lost, now=NOW)
    assert (after.state, after.move_asked_at, after.move_drain_id) == (
        SandboxState.ERROR,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (sandbox(RUNNING), None),
        (sandbox(STOPPED, desired_state=DOWN), None),
        (sandbox(RUNNING, desired_state=DOWN), None),
        (sandbox(RUNNING, desired_state=GONE), "ending"),
        (sandbox(SandboxState.DESTROYED), "ending"),
        (sandbox(SandboxState.ERROR), "failed"),
        (sandbox(SandboxState.CREATED), "not_up"),
        (sandbox(SandboxState.STARTING), "not_up"),
        (
            sandbox(STOPPED, desired_state=DOWN, on_expire=OnExpire.IMAGE, conditions=(ENDED,)),
            "ended",
        ),
    ],
)
def test_who_may_be_moved(record: Sandbox, code: str | None) -> None:
    found = moves.hindrance(record, HERE, ())
    assert (None if found is None else found.code) == code


def snapshot(name: str) -> Snapshot:
    return Snapshot(
        id=f"SNP-{name}",
        sandbox_id="SBX-1",
        name=name,
        kind=SnapshotKind.INTERNAL,
        ref=name,
        created_at=NOW,
        state=SnapshotState.READY,
    )


def test_snapshots_are_in_the_way_and_named() -> None:
    few = moves.hindrance(sandbox(RUNNING), HERE, [snapshot("clean")])
    assert few is not None
    assert (few.code, few.passing) == ("has_snapshots", False)
    assert few.message.endswith("clean")
    many = moves.hindrance(sandbox(RUNNING), HERE, [snapshot(f"s{n}") for n in range(7)])
    assert many is not None
    assert many.message.endswith("s4 and 2 more")


@pytest.mark.parametrize("reason", ["connection lost", None])
def test_nothing_is_copied_from_a_host_that_is_silent(reason: str | None) -> None:
    silent = host(health=HostHealth.DOWN, health_reason=reason)
    found = moves.hindrance(sandbox(RUNNING), silent, ())
    assert found is not None
    assert found.code == "host_unreachable"
    assert found.message.endswith(reason or str(HostHealth.DOWN))


def test_a_wish_drops_a_stop_that_was_taken_back_and_nothing_else() -> None:
    stop = sandbox(RUNNING, phase=Phase.STOP, phase_at=NOW, attempts=2, retry_at=NOW)
    asked = moving.wished(stop, to=None, reason=None, drain_id=None, now=NOW)
    assert (asked.phase, asked.phase_at, asked.attempts, asked.retry_at) == (None, None, 0, None)
    assert asked.move_asked_at == NOW
    other = sandbox(STOPPED, phase=Phase.IMAGE, phase_at=NOW)
    asked = moving.wished(other, to="beta", reason="r", drain_id="DRN-1", now=NOW)
    assert (asked.phase, asked.phase_at) == (Phase.IMAGE, NOW)
    assert (asked.move_to, asked.move_reason, asked.move_drain_id) == ("beta", "r", "DRN-1")


@pytest.mark.parametrize("phase", [Phase.MOVE, Phase.STOP])
def test_cancelled_nothing_of_the_move_is_true_any_more(phase: Phase) -> None:
    record = wished(phase=phase, phase_at=NOW, attempts=2, conditions=(FAILING, ENDED))
    stays = moving.cancelled(record)
    assert not moves.under_way(stays)
    assert stays.conditions == (ENDED,)
    assert stays.attempts == 0
    assert stays.phase is (None if phase is Phase.MOVE else phase)
    assert moving.wish_of(stays) == dict.fromkeys(moving.wish_of(stays))


def test_found_is_told_by_the_phase() -> None:
    looked = moving.found(wished(attempts=3, retry_at=NOW, conditions=(FAILING,)), now=NOW)
    assert (looked.phase, looked.attempts, looked.conditions) == (Phase.MOVE, 0, ())
    assert isinstance(judged(looked, ON), ShutDown)


def arrived(**changes: object) -> Sandbox:
    return moves.arrived(
        wished(STOPPED, **changes),
        to=THERE,
        network="lan",
        decision_id="DEC-2",
        image=("box-move", "sha256:1"),
        now=NOW,
    )


def test_it_arrives_with_what_is_its_own_and_nothing_of_its_host() -> None:
    before = {
        "desired_state": UP,
        "expires_at": NOW,
        "ssh_ca": "SHA256:x",
        "mac": "52:54:00:00:00:01",
        "ip_address": "10.0.0.5",
        "base_fingerprint": "qcow2:1",
        "attempts": 2,
        "conditions": (FAILING,),
    }
    there = arrived(**before)
    assert (there.state, there.desired_state) == (SandboxState.CREATED, UP)
    assert (there.host_id, there.host_name, there.network) == ("HST-2", "beta", "lan")
    assert (there.base_image, there.image_digest) == ("box-move", "sha256:1")
    assert (there.expires_at, there.ssh_ca, there.mac) == (NOW, "SHA256:x", before["mac"])
    assert (there.ip_address, there.base_fingerprint, there.phase) == (None, None, None)
    assert (there.attempts, there.conditions, there.failed_hosts) == (0, (), ())
    assert (there.moved_at, there.queued_at, there.running_at) == (NOW, NOW, None)
    assert moving.wish_of(there) == dict.fromkeys(moving.wish_of(there))
    assert coming_up(there)
    assert arriving(there)
    assert yet_to_be_built(there)


def test_its_time_to_come_up_is_counted_once_its_disk_is_there() -> None:
    there, late = arrived(desired_state=UP), 10**6
    assert isinstance(judged(there, Absent(), after=late), Build)
    starting = judged(there, OFF, after=late)
    assert isinstance(starting, Become)
    up = outcomes.become(there, starting, now=NOW + timedelta(seconds=late))
    assert isinstance(judged(up, OFF, after=late), Start)
    ended = judged(up, OFF, after=late + up.provision_timeout_seconds)
    assert isinstance(ended, Become)
    assert ended.reason_code == "provision_timeout"


def test_one_that_was_off_is_only_built_there() -> None:
    assert only_built(arrived())
    assert not only_built(arrived(desired_state=UP))
    assert not only_built(sandbox(STOPPED, desired_state=DOWN))


def test_a_lease_that_has_ended_has_ended_there_too() -> None:
    there = arrived(conditions=(ENDED, FAILING))
    (kept,) = there.conditions
    assert kept.kind == ConditionKind.EXPIRED
    assert kept.since > NOW


@pytest.mark.parametrize(
    ("on_expire", "desired", "moves_on"),
    [
        (OnExpire.DESTROY, GONE, False),
        (OnExpire.IMAGE, DOWN, False),
        (OnExpire.STOP, DOWN, True),
    ],
)
def test_an_end_on_the_way_wins(on_expire: OnExpire, desired: DesiredState, moves_on: bool) -> None:
    record = wished(on_expire=on_expire, expires_at=NOW, ttl_seconds=60)
    after = expiry.expire(record, NOW, 3600)
    assert after.desired_state is desired
    assert (after.move_asked_at is not None, moves.under_way(after)) == (moves_on, moves_on)


def test_the_disk_that_was_moved_is_kept_by_an_end_before_it_is_up_again() -> None:
    there = arrived(desired_state=UP, on_expire=OnExpire.IMAGE, expires_at=NOW)
    after = expiry.expire(there, NOW, 3600)
    assert after.desired_state is DOWN
    assert [c.kind for c in after.conditions] == [ConditionKind.EXPIRED]


def test_an_image_is_of_the_move_that_names_it() -> None:
    record = wished(STOPPED)
    first, otherwise = moves.image_names(record, NOW)
    assert first == "box-move-20260301-120000"
    assert otherwise == "sbx-1-move-20260301-120000"
    assert len(moves.image_names(replace(record, sandbox_name="b" * 63), NOW)[0]) == 63
    for name, state, carries in (
        (first, ImageState.FREEZING, True),
        (otherwise, ImageState.REFUSED, True),
        (first, ImageState.REMOVING, False),
        ("box-move-20260301-110000", ImageState.READY, False),
    ):
        image = carrier(name, state)
        assert moves.carries(image, record) is carries
        assert not moves.carries(image, moving.unwished(record))


domains = st.builds(seen, st.sampled_from(DomainState), st.sampled_from(StateReason))
unknowns = st.builds(Unknown, reason=st.just("no answer"), doubt=st.sampled_from(Doubt))
records = st.builds(
    wished,
    st.sampled_from([RUNNING, STOPPED]),
    desired_state=st.sampled_from(DesiredState),
    phase=st.none() | st.sampled_from(Phase),
    phase_at=st.just(NOW),
    attempts=st.integers(0, 9),
    on_expire=st.sampled_from(OnExpire),
    conditions=st.sampled_from([(), (FAILING,), (ENDED,)]),
)


@given(record=records, look=st.just(Absent()) | domains | unknowns)
def test_laws_of_every_step(record: Sandbox, look: Seen) -> None:
    """Nothing is removed for a move, and what is copied is off."""
    step = judged(record, look)
    if isinstance(step, TearDown):
        assert record.desired_state is GONE
    if isinstance(step, Move):
        assert moves.under_way(record)
        assert isinstance(look, Present)
        off = look.domain.state in (DomainState.SHUT_OFF, DomainState.CRASHED)
        assert off or record.state is RUNNING or look.domain.reason is StateReason.CRASHED
    if isinstance(step, Become):
        assert step.desired is None or not moves.under_way(record)


@given(
    start=st.sampled_from([RUNNING, STOPPED]),
    desired=st.sampled_from([UP, DOWN]),
    refused=st.integers(0, 3),
    obeys=st.booleans(),
)
def test_following_the_steps_ends_on_another_host(
    start: SandboxState, desired: DesiredState, refused: int, obeys: bool
) -> None:
    record, now = wished(start, desired_state=desired), NOW
    look = ON if start is RUNNING else OFF
    for _ in range(200):
        step = judge(record, look, now=now, limits=LIMITS)
        now += timedelta(seconds=1)
        if isinstance(step, Become):
            record = outcomes.become(record, step, now=now)
        elif isinstance(step, ShutDown | PowerOff):
            record = outcomes.done(outcomes.begun(record, Phase.STOP, now=now), now=now)
            look = OFF if obeys or isinstance(step, PowerOff) else ON
        elif isinstance(step, Move) and refused:
            refused -= 1
            begun = outcomes.begun(record, Phase.MOVE, now=now)
            record = outcomes.failed(begun, "no room", now=now)
        elif isinstance(step, Move) and record.state is RUNNING:
            record = moving.found(record, now=now)
        elif isinstance(step, Move):
            assert look is OFF
            return
        else:
            assert isinstance(step, Wait)
    raise AssertionError("it never left")
