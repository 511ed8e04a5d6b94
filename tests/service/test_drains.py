"""Drains are begun once, planned anew on every look, and called off."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scheduler.control.clock_guard import ClockGuard
from scheduler.errors import Conflict, NotFound
from scheduler.model import DrainPolicy, DrainState, HostState, OnDeadline
from scheduler.service.drains import DrainStatus
from scheduler.service.intents import Intent
from scheduler.service.requests import DrainHost
from scheduler.store import EventFilter
from tests.clocks import ManualClock
from tests.service.planes import ME, Plane

INTENT: Intent[DrainStatus] = Intent(actor=ME)


async def test_a_drain_is_one_durable_wish(cloud: Plane, clock: ManualClock) -> None:
    made = await cloud.create()
    drains = cloud.services.drains

    begun = await drains.drain("alpha", DrainHost(deadline_seconds=600, reason="repair"), INTENT)
    clock.advance(60)
    seen = await drains.status("alpha")

    assert (begun.drain.state, begun.host.state) == (DrainState.ACTIVE, HostState.DRAINING)
    assert begun.drain.deadline_at == begun.drain.started_at + timedelta(seconds=600)
    assert (begun.drain.total, begun.drain.actor) == (1, ME)
    assert [action.sandbox_id for action in seen.plan.actions] == [made.id]
    assert cloud.woken[-1] == begun.host.id
    assert cloud.fleet.record(begun.host.id).state is HostState.DRAINING
    events = await cloud.services.events.find(0, EventFilter(kind="drain."), 10)
    assert [event.kind for event in events] == ["drain.started"]


async def test_a_preview_writes_nothing(cloud: Plane) -> None:
    await cloud.create()
    before = await cloud.services.events.latest()

    seen = await cloud.services.drains.preview("alpha", DrainHost(), ME)

    assert seen.plan.remaining == 1
    assert seen.host.state is HostState.ACTIVE
    assert await cloud.services.events.latest() == before
    with pytest.raises(NotFound):
        await cloud.services.drains.status("alpha")


async def test_the_same_wish_twice_is_one_drain(cloud: Plane) -> None:
    drains = cloud.services.drains
    first = await drains.drain("alpha", DrainHost(), INTENT)

    assert (await drains.drain("alpha", DrainHost(), INTENT)).drain == first.drain
    with pytest.raises(Conflict, match="drained already"):
        await drains.drain("alpha", DrainHost(policy=DrainPolicy.EXPIRE), INTENT)
    with pytest.raises(Conflict, match="by policy destroy and destroy at its deadline"):
        await drains.preview("alpha", DrainHost(on_deadline=OnDeadline.KEEP), ME)
    assert (await drains.preview("alpha", DrainHost(), ME)).drain == first.drain


async def told(cloud: Plane) -> list[str]:
    events = await cloud.services.events.find(0, EventFilter(kind="drain."), 10)
    return [event.kind for event in events]


async def test_another_deadline_counts_from_now_on(cloud: Plane, clock: ManualClock) -> None:
    """As in an emergency: what was to take a day is to be over in five minutes."""
    drains = cloud.services.drains
    await cloud.create(ttl_seconds=90_000)
    patient = DrainHost(policy=DrainPolicy.EXPIRE, deadline_seconds=86_400)
    begun = await drains.drain("alpha", patient, INTENT)
    clock.advance(60)
    hasty = DrainHost(policy=DrainPolicy.EXPIRE, deadline_seconds=300, reason="smoke")
    wanted = clock.now() + timedelta(seconds=300)

    seen = await drains.preview("alpha", hasty, ME)
    assert (seen.drain.deadline_at, seen.plan.eta) == (wanted, wanted)
    assert (await drains.status("alpha")).drain == begun.drain, "a preview writes nothing"
    cloud.woken.clear()
    changed = await drains.drain("alpha", hasty, INTENT)

    assert (changed.drain.id, changed.drain.deadline_at) == (begun.drain.id, wanted)
    assert changed.plan.actions[0].due_at == wanted
    assert cloud.woken == [begun.host.id], "the loop sleeps until the old deadline"
    event = (await cloud.services.events.find(0, EventFilter(kind="drain.changed"), 10))[0]
    assert (event.actor, event.evidence["deadline_at"]) == (ME, wanted.isoformat())
    assert event.message == f"deadline {wanted.isoformat()}: smoke"


async def test_a_deadline_that_is_not_named_or_the_same_changes_nothing(
    cloud: Plane, clock: ManualClock
) -> None:
    drains = cloud.services.drains
    begun = await drains.drain("alpha", DrainHost(deadline_seconds=600), INTENT)
    clock.advance(60)
    for again in (DrainHost(), DrainHost(deadline_seconds=600)):
        assert (await drains.drain("alpha", again, INTENT)).drain == begun.drain
    assert await told(cloud) == ["drain.started"]

    for_ever = await drains.drain("alpha", DrainHost(deadline_seconds=None), INTENT)
    assert for_ever.drain.deadline_at is None
    await drains.drain("alpha", DrainHost(deadline_seconds=None), INTENT)
    assert await told(cloud) == ["drain.started", "drain.changed"]


async def test_another_deadline_that_is_named_again_and_again_comes(
    cloud: Plane, clock: ManualClock
) -> None:
    """As a playbook states it at every run."""
    drains = cloud.services.drains
    await drains.drain("alpha", DrainHost(deadline_seconds=86_400), INTENT)
    clock.advance(600)
    hasty = DrainHost(deadline_seconds=3600)
    changed = await drains.drain("alpha", hasty, INTENT)
    assert changed.drain.deadline_at == clock.now() + timedelta(hours=1)
    for _ in range(6):
        clock.advance(600)
        assert (await drains.drain("alpha", hasty, INTENT)).drain == changed.drain
        assert (await drains.preview("alpha", hasty, ME)).drain == changed.drain
    assert changed.drain.deadline_at == clock.now()
    assert await told(cloud) == ["drain.started", "drain.changed"]

    back = await drains.drain("alpha", DrainHost(deadline_seconds=86_400), INTENT)
    assert back.drain.deadline_at == clock.now() + timedelta(days=1), "what it was begun with"


async def test_the_same_deadline_is_known_after_a_step_of_the_clock(
    cloud: Plane, clock: ManualClock
) -> None:
    guard = ClockGuard(cloud.store, clock)
    await guard.watch()
    drains = cloud.services.drains
    await drains.drain("alpha", DrainHost(deadline_seconds=600), INTENT)
    clock.set_wall(3600.0)
    await guard.watch()
    clock.advance(60)
    shifted = await drains.status("alpha")
    again = await drains.drain("alpha", DrainHost(deadline_seconds=600), INTENT)
    assert again.drain == shifted.drain


async def test_an_aborted_drain_leaves_the_host_cordoned(cloud: Plane) -> None:
    drains = cloud.services.drains
    await drains.drain("alpha", DrainHost(), INTENT)

    ended = await drains.abort("alpha", "", INTENT)

    assert (ended.drain.state, ended.host.state) == (DrainState.ABORTED, HostState.CORDONED)
    with pytest.raises(Conflict, match="no drain"):
        await drains.abort("alpha", "", INTENT)
    assert cloud.counts.drains == ["aborted"]
    again = await drains.drain("alpha", DrainHost(deadline_seconds=None), INTENT)
    assert again.drain.id != ended.drain.id
    assert again.drain.deadline_at is None


async def test_a_finished_drain_is_undone(cloud: Plane) -> None:
    drains = cloud.services.drains
    begun = await drains.drain("alpha", DrainHost(), INTENT)
    at = cloud.clock.now()
    await cloud.store.submit(
        lambda tx: tx.hosts.set_state(begun.host.id, HostState.DRAINING, HostState.DRAINED, at=at)
    )

    undone = await drains.undo("alpha", "", INTENT)

    assert undone.host.state is HostState.ACTIVE
    assert cloud.counts.drains == ["aborted"], "its record was still open"
    with pytest.raises(Conflict):
        await drains.undo("alpha", "", INTENT)


async def test_a_host_never_drained_has_nothing_to_undo(cloud: Plane) -> None:
    with pytest.raises(Conflict):
        await cloud.services.drains.abort("alpha", "", INTENT)
    with pytest.raises(NotFound):
        await cloud.services.drains.drain("nowhere", DrainHost(), INTENT)
