"""Failed sandboxes that come back, on the host: resumed by room in the pool, built by a retry."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from scheduler.control.drainer import Drainer
from scheduler.control.reaper import Reaper
from scheduler.errors import HostRefused
from scheduler.model import (
    DesiredState,
    DomainState,
    DrainPolicy,
    Phase,
    Sandbox,
    SandboxState,
    StateReason,
)
from scheduler.service.intents import Intent
from scheduler.service.requests import DrainHost
from tests.control.world import ME, World
from tests.hosts.fake import FakeDriver


async def starved(there: World) -> tuple[Sandbox, FakeDriver]:
    """Return a sandbox whose guest a full pool stopped, and its host."""
    made = await there.created()
    driver = there.drivers.by_host[made.host_id or ""]
    assert isinstance(driver, FakeDriver)
    driver.host.full = True
    starve(there, made)
    assert await there.reconcile() == [made.id]
    await there.settle(made.id)
    failed = await there.sandbox(made.id)
    assert (failed.state, failed.reason_code) == (SandboxState.ERROR, "storage_full")
    return failed, driver


def starve(there: World, sandbox: Sandbox) -> None:
    domain = there.domain_of(sandbox)
    domain.state, domain.reason = DomainState.PAUSED, StateReason.IO_ERROR


async def test_room_in_the_pool_lets_the_guest_go_on(there: World) -> None:
    failed, driver = await starved(there)
    assert await there.reconcile() == []
    assert driver.calls["resume"] == 0
    driver.host.full = False
    assert await there.reconcile() == [failed.id]
    await there.settle(failed.id)
    again = await there.sandbox(failed.id)
    assert (again.state, again.reason_code, again.phase) == (SandboxState.RUNNING, "resumed", None)
    assert again.ip_address == failed.ip_address
    assert driver.calls["resume"] == 1
    assert there.domain_of(again).state is DomainState.RUNNING
    events = await there.events(sandbox_id=failed.id)
    assert events[-1].reason_code == "resumed"


async def test_a_host_that_refuses_is_asked_again_later(there: World) -> None:
    failed, driver = await starved(there)
    driver.host.full = False
    driver.fail("resume", HostRefused("QEMU is busy"), times=2)
    await there.look()
    await there.settle(failed.id)
    again = await there.sandbox(failed.id)
    assert (again.state, again.conditions) == (SandboxState.RUNNING, ())
    assert driver.calls["resume"] == 3


async def test_a_guest_that_is_starved_again_is_not_said_to_run(there: World) -> None:
    failed, driver = await starved(there)
    driver.host.full = False
    await there.look()
    pause = await there.converger.converge(failed.id)
    assert pause is not None
    starve(there, failed)
    there.clock.advance(pause)
    assert (await there.sandbox(failed.id)).phase is Phase.RESUME
    await there.converger.converge(failed.id)
    assert driver.calls["resume"] == 2
    told = [event.reason_code for event in await there.events(sandbox_id=failed.id)]
    assert "resumed" not in told


async def test_what_its_owner_stops_meanwhile_is_stopped(there: World) -> None:
    failed, driver = await starved(there)
    driver.host.full = False
    await there.look()
    await asyncio.gather(
        there.converger.converge(failed.id),
        there.services.sandboxes.stop(failed.id, Intent(actor=ME)),
    )
    for _ in range(3):
        await there.look()
        await there.settle(failed.id)
    stopped = await there.sandbox(failed.id)
    assert (stopped.state, stopped.phase) == (SandboxState.STOPPED, None)


async def test_a_retry_of_what_is_only_to_be_built_builds_it_and_starts_nothing(
    there: World,
) -> None:
    (driver,) = there.drivers.by_host.values()
    assert isinstance(driver, FakeDriver)
    driver.fail("define", HostRefused("no"), times=3)
    failed = await there.created(SandboxState.ERROR, auto_start=False, host="alpha")
    assert failed.reason_code == "build_failed"
    retried = await there.services.sandboxes.retry(failed.id, Intent(actor=ME))
    assert (retried.state, retried.desired_state) == (SandboxState.STARTING, DesiredState.STOPPED)
    await there.look()
    await there.look()
    await there.settle(failed.id)
    built = await there.sandbox(failed.id)
    assert (built.state, built.reason_code) == (SandboxState.STOPPED, "stopped")
    assert driver.calls["start"] == 0
    assert there.domain_of(built).state is DomainState.SHUT_OFF


async def drained(there: World) -> None:
    wanted = DrainHost(policy=DrainPolicy.STOP)
    await there.services.drains.drain("alpha", wanted, Intent(actor=ME))

    async def changed(_: str) -> None:
        """Tell nobody."""

    await Drainer(
        there.store, there.clock, wake_sandbox=lambda _: None, changed=changed, count=lambda _: None
    ).drain()


async def expired(there: World) -> None:
    there.clock.advance(600.0)
    reaper = Reaper(
        there.store,
        there.clock,
        stopped_retention_seconds=60,
        wake=lambda _: None,
        count=lambda _: None,
    )
    await reaper.reap()


@pytest.mark.parametrize("stopped", [drained, expired])
async def test_a_retry_that_is_stopped_before_the_domain_is_there_loses_nothing(
    there: World, stopped: Callable[[World], Awaitable[None]]
) -> None:
    """As when its owner stops it, whatever reason the stop wrote over `retried`."""
    (driver,) = there.drivers.by_host.values()
    assert isinstance(driver, FakeDriver)
    driver.fail("define", HostRefused("no"), times=3)
    failed = await there.created(
        SandboxState.ERROR, ttl_seconds=600, on_expire="stop", provision_timeout_seconds=3600
    )
    assert failed.reason_code == "build_failed"
    await there.services.sandboxes.retry(failed.id, Intent(actor=ME))
    await stopped(there)
    early = await there.sandbox(failed.id)
    assert (early.state, early.desired_state) == (SandboxState.STARTING, DesiredState.STOPPED)
    assert early.reason_code != "retried"
    for _ in range(3):
        await there.look()
        await there.settle(failed.id)
    built = await there.sandbox(failed.id)
    assert (built.state, built.reason_code) == (SandboxState.STOPPED, "stopped")
