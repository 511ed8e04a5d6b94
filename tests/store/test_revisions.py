"""What was decided by a record as it was is refused once somebody else has changed it (ADR 0262).

On both engines, by the services and the loops that write; If-Match itself is asked in tests/api.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest

from scheduler.control.clock_guard import ClockGuard
from scheduler.control.drainer import Drainer
from scheduler.control.reaper import Reaper
from scheduler.errors import StaleRevision
from scheduler.model import (
    Breaker,
    Condition,
    DesiredState,
    DrainPolicy,
    HostState,
    Phase,
    Sandbox,
    SandboxState,
)
from scheduler.service.intents import Intent
from scheduler.service.requests import DrainHost
from scheduler.store import StoreConfig
from tests.clocks import ManualClock
from tests.service.planes import Plane, plane
from tests.store.samples import later


@pytest.fixture
async def cloud(url: str, clock: ManualClock) -> AsyncIterator[Plane]:
    """A plane with one healthy host."""
    async with plane(StoreConfig(database_url=url), clock) as opened:
        await opened.add_host("alpha")
        yield opened


async def nothing(_id: str) -> None:
    """Be told, and do nothing."""


def drainer(cloud: Plane) -> Drainer:
    return Drainer(
        cloud.store,
        cloud.clock,
        wake_sandbox=cloud.woken.append,
        changed=nothing,
        count=lambda _: None,
    )


async def test_a_host_that_was_cordoned_anew_is_not_the_one_that_was_read(cloud: Plane) -> None:
    hosts = cloud.services.hosts
    read = await hosts.cordon("alpha", "swapping a fan", Intent(actor="A"))
    await hosts.uncordon("alpha", "fan done", Intent(actor="B"))
    await hosts.cordon("alpha", "the disk is failing", Intent(actor="C"))

    for late in (
        hosts.uncordon("alpha", "fan swapped", Intent(actor="A"), expected_revision=read.revision),
        hosts.remove("alpha", Intent(actor="A"), expected_revision=read.revision),
        hosts.removable("alpha", expected_revision=read.revision),
    ):
        with pytest.raises(StaleRevision):
            await late
    now = await hosts.get("alpha")
    assert (now.state, now.state_reason) == (HostState.CORDONED, "the disk is failing")
    back = await hosts.uncordon("alpha", "", Intent(actor="A"), expected_revision=now.revision)
    assert back.state is HostState.ACTIVE


async def test_every_change_of_a_drain_is_another_revision_of_its_host(
    cloud: Plane, clock: ManualClock
) -> None:
    hosts, drains = cloud.services.hosts, cloud.services.drains
    made = await cloud.create()
    seen = [(await hosts.get("alpha")).revision]

    async def refused() -> None:
        """Expect that nobody who read the host before may call the drain off."""
        revision = (await hosts.get("alpha")).revision
        assert revision > seen[-1]
        with pytest.raises(StaleRevision):
            await drains.abort("alpha", "", Intent(actor="A"), expected_revision=seen[-1])
        seen.append(revision)

    await drains.drain("alpha", DrainHost(deadline_seconds=600), Intent(actor="B"))
    await refused()
    again = DrainHost(deadline_seconds=60, reason="now")
    status = await drains.drain("alpha", again, Intent(actor="B"))
    assert cloud.fleet.record(status.host.id) == await hosts.get("alpha")
    await refused()
    await drains.drain("alpha", DrainHost(), Intent(actor="B"))
    assert (await hosts.get("alpha")).revision == seen[-1], "the same wish changes nothing"
    await cloud.bury(made)
    await drainer(cloud).drain()
    assert (await hosts.get("alpha")).state is HostState.DRAINED
    await refused()


async def test_what_is_observed_of_a_host_and_claimed_on_it_is_no_revision(cloud: Plane) -> None:
    host = await cloud.services.hosts.get("alpha")
    await cloud.create()
    await cloud.poll(host, total_cpus=16)
    breaker = Breaker(reason="no space", since=later(0), retry_at=later(60))
    await cloud.store.submit(
        lambda tx: tx.hosts.set_breakers(host.id, (breaker,), at=cloud.clock.now())
    )

    held = await cloud.services.hosts.cordon(
        "alpha", "", Intent(actor="A"), expected_revision=host.revision
    )

    assert (held.state, held.reserved_sandboxes) == (HostState.CORDONED, 1)


async def stopped(cloud: Plane, sandbox: Sandbox, clock: ManualClock) -> None:
    await cloud.services.sandboxes.stop(sandbox.id, Intent(actor="B"))


async def extended(cloud: Plane, sandbox: Sandbox, clock: ManualClock) -> None:
    await cloud.services.sandboxes.extend(sandbox.id, 7200, Intent(actor="B"))


async def drained(cloud: Plane, sandbox: Sandbox, clock: ManualClock) -> None:
    wanted = DrainHost(policy=DrainPolicy.DESTROY)
    await cloud.services.drains.drain("alpha", wanted, Intent(actor="B"))
    await drainer(cloud).drain()
    drained = await cloud.services.sandboxes.get(sandbox.id)
    assert drained.desired_state is DesiredState.DESTROYED


async def reaped(cloud: Plane, sandbox: Sandbox, clock: ManualClock) -> None:
    clock.advance(601)
    reaper = Reaper(
        cloud.store,
        clock,
        stopped_retention_seconds=60,
        wake=cloud.woken.append,
        count=cloud.woken.append,
    )
    assert await reaper.reap() == 0.0


async def failed(cloud: Plane, sandbox: Sandbox, clock: ManualClock) -> None:
    await cloud.become(sandbox, SandboxState.ERROR)


async def shifted(cloud: Plane, sandbox: Sandbox, clock: ManualClock) -> None:
    guard = ClockGuard(cloud.store, clock)
    await guard.watch()
    clock.set_wall(3600.0)
    await guard.watch()


@pytest.mark.parametrize("changed", [stopped, extended, drained, reaped, failed, shifted])
async def test_a_sandbox_that_was_changed_is_not_the_one_that_was_read(
    cloud: Plane,
    clock: ManualClock,
    changed: Callable[[Plane, Sandbox, ManualClock], Awaitable[None]],
) -> None:
    sandboxes, made = cloud.services.sandboxes, await cloud.create()
    up = await cloud.become(made, SandboxState.STARTING, SandboxState.RUNNING)
    assert up.revision > made.revision, "it has come up since it was created"
    ends = clock.now() + timedelta(seconds=600)
    read = await cloud.store.submit(
        lambda tx: tx.sandboxes.transition(
            up.id, up.state, up.state, at=clock.now(), expires_at=ends
        )
    )

    await changed(cloud, read, clock)

    now = await sandboxes.get(read.id)
    for late in (
        sandboxes.stop(read.id, Intent(actor="A"), expected_revision=read.revision),
        sandboxes.destroy(read.id, Intent(actor="A"), expected_revision=read.revision),
        sandboxes.holdings(read.id, expected_revision=read.revision),
    ):
        with pytest.raises(StaleRevision):
            await late
    assert await sandboxes.get(read.id) == now
    ended = await sandboxes.destroy(read.id, Intent(actor="A"), expected_revision=now.revision)
    assert ended.desired_state is DesiredState.DESTROYED


async def test_a_tombstone_is_not_the_sandbox_that_was_read(cloud: Plane) -> None:
    read = await cloud.create()
    buried = await cloud.bury(read)

    assert buried.revision > read.revision
    with pytest.raises(StaleRevision):
        await cloud.services.sandboxes.holdings(read.id, expected_revision=read.revision)


async def test_what_polls_see_of_a_sandbox_is_no_revision(cloud: Plane) -> None:
    made = await cloud.create()
    read = await cloud.become(made, SandboxState.STARTING, SandboxState.RUNNING)
    away = Condition(kind="host_unreachable", message="no answer", since=later(1))
    seen = await cloud.store.submit(
        lambda tx: tx.sandboxes.transition(
            read.id,
            read.state,
            read.state,
            at=later(1),
            conditions=(away,),
            ip_address="192.0.2.7",
            phase=Phase.START,
            attempts=1,
        )
    )
    assert (seen.conditions, seen.generation) == ((away,), read.generation + 1)

    stopped = await cloud.services.sandboxes.stop(
        read.id, Intent(actor="A"), expected_revision=read.revision
    )

    assert stopped.desired_state is DesiredState.STOPPED
