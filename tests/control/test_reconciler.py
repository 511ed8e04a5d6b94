"""What became of guests by themselves, by others and by their hosts, seen in listings alone."""

from __future__ import annotations

import pytest

from scheduler.lifecycle.steps import ConditionKind
from scheduler.model import (
    AllocationState,
    DesiredState,
    DomainState,
    Sandbox,
    SandboxState,
    StateReason,
)
from scheduler.service.intents import Intent
from tests.control.world import ME, World
from tests.hosts.fake import FakeDomain, FakeDriver

INTENT: Intent[Sandbox] = Intent(actor=ME)


async def seen(world: World, made: Sandbox) -> Sandbox:
    """Look, nudge and work as the loops do, until nothing is nudged any more."""
    for _ in range(4):
        for sandbox_id in await world.reconcile():
            await world.settle(sandbox_id)
    return await world.sandbox(made.id)


def become(world: World, made: Sandbox, state: DomainState, reason: StateReason) -> FakeDomain:
    domain = world.domain_of(made)
    domain.state, domain.reason = state, reason
    return domain


async def test_one_that_is_as_it_should_be_is_left_alone(there: World) -> None:
    await there.created()
    await there.created(SandboxState.STOPPED, auto_start=False)
    for _ in range(3):
        assert await there.reconcile() == []


async def test_one_on_its_way_is_nudged_by_every_look(there: World) -> None:
    made = await there.create()
    assert await there.reconcile() == [made.id]
    assert await there.reconcile() == [made.id]


@pytest.mark.parametrize(
    ("state", "reason", "code"),
    [
        (DomainState.SHUT_OFF, StateReason.KILLED, "domain_killed"),
        (DomainState.SHUT_OFF, StateReason.CRASHED, "guest_crashed"),
        (DomainState.CRASHED, StateReason.OTHER, "guest_crashed"),
        (DomainState.SHUT_OFF, StateReason.OTHER, "host_restarted"),
    ],
)
async def test_a_guest_that_ended_otherwise_is_an_error_and_keeps_what_it_holds(
    there: World, state: DomainState, reason: StateReason, code: str
) -> None:
    made = await there.created()
    become(there, made, state, reason)
    failed = await seen(there, made)
    assert (failed.state, failed.reason_code) == (SandboxState.ERROR, code)
    assert failed.ip_address is None
    (held,) = await there.allocations(made.id)
    assert held.state is AllocationState.ACTIVE


async def test_a_guest_that_shut_itself_down_is_stopped_and_stays_so(there: World) -> None:
    made = await there.created()
    become(there, made, DomainState.SHUT_OFF, StateReason.GUEST_SHUTDOWN)
    stopped = await seen(there, made)
    assert (stopped.state, stopped.desired_state, stopped.reason_code) == (
        SandboxState.STOPPED,
        DesiredState.STOPPED,
        "guest_shutdown",
    )
    assert await there.reconcile() == []


async def test_i6_a_lost_domain_takes_two_listings(there: World) -> None:
    made = await there.created()
    await there.look()
    (driver,) = there.drivers.by_host.values()
    assert isinstance(driver, FakeDriver)
    del driver.host.domains[made.domain_uuid or ""]
    assert await there.reconcile() == []
    assert (await there.sandbox(made.id)).state is SandboxState.RUNNING
    lost = await seen(there, made)
    assert (lost.state, lost.reason_code) == (SandboxState.ERROR, "domain_lost")
    assert len(await there.allocations(made.id)) == 1


async def test_i6_a_miss_between_two_listings_starts_the_proof_anew(there: World) -> None:
    made = await there.created()
    (driver,) = there.drivers.by_host.values()
    assert isinstance(driver, FakeDriver)
    del driver.host.domains[made.domain_uuid or ""]
    assert await there.reconcile() == []
    driver.reachable = False
    await there.reconcile()
    driver.reachable = True
    assert await there.reconcile() == []
    assert await there.reconcile() == [made.id]


async def test_i6_no_listing_from_before_our_last_call_counts(there: World) -> None:
    made = await there.created()
    await there.look()
    (driver,) = there.drivers.by_host.values()
    assert isinstance(driver, FakeDriver)
    gone = driver.host.domains.pop(made.domain_uuid or "")
    await there.look()
    with there.listings.mutating(made.id):
        await there.look()
    driver.host.domains[gone.uuid] = gone
    assert await there.reconcile() == []


async def test_a_pause_is_a_condition_for_as_long_as_it_lasts(there: World) -> None:
    made = await there.created()
    become(there, made, DomainState.PAUSED, StateReason.USER)
    paused = await seen(there, made)
    assert paused.state is SandboxState.RUNNING
    assert [c.kind for c in paused.conditions] == [ConditionKind.PAUSED]
    assert await there.reconcile() == []
    become(there, made, DomainState.RUNNING, StateReason.OTHER)
    assert (await seen(there, made)).conditions == ()


async def test_a_passing_pause_says_nothing(there: World) -> None:
    made = await there.created()
    become(there, made, DomainState.PAUSED, StateReason.TRANSIENT)
    assert (await seen(there, made)).conditions == ()


async def test_an_unreachable_host_is_a_condition_of_its_sandboxes(there: World) -> None:
    made = await there.created()
    (driver,) = there.drivers.by_host.values()
    assert isinstance(driver, FakeDriver)
    driver.reachable = False
    assert await there.reconcile() == []
    told = await seen(there, made)
    assert (told.state, [c.kind for c in told.conditions]) == (
        SandboxState.RUNNING,
        [ConditionKind.HOST_UNREACHABLE],
    )
    assert await there.reconcile() == []
    driver.reachable = True
    assert (await seen(there, made)).conditions == ()


async def test_one_that_somebody_started_is_shut_down_again(there: World) -> None:
    made = await there.created(SandboxState.STOPPED, auto_start=False)
    become(there, made, DomainState.RUNNING, StateReason.OTHER)
    await seen(there, made)
    assert there.domain_of(made).state is DomainState.SHUT_OFF
