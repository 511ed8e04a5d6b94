"""A sandbox that its host cannot bring up comes up on another one, and leaves nothing behind."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scheduler.control.leftovers import key_of
from scheduler.errors import HostRefused, HostTimeout, HostUnreachable, StaleRevision
from scheduler.lifecycle.steps import Become, ConditionKind, Relocate
from scheduler.model import (
    AllocationState,
    DomainState,
    HostHealth,
    Phase,
    Sandbox,
    SandboxState,
)
from scheduler.service.intents import Intent
from tests.control.world import IMAGE, ME, World
from tests.hosts.fake import FakeDriver

INTENT: Intent[Sandbox] = Intent(actor=ME)
REFUSED = HostRefused("no space left in the pool")
RELEASING = AllocationState.RELEASING
FAILED = Relocate(
    reason_code="build_failed",
    reason_message="no",
    otherwise=Become(state=SandboxState.ERROR, reason_code="build_failed", reason_message="no"),
)


@pytest.fixture
async def three(empty: World) -> World:
    """Three hosts; `spread` takes them in order of name while they are equally empty."""
    for name in ("alpha", "beta", "gamma"):
        await empty.add_seen_host(name)
    return empty


async def driver_on(world: World, name: str) -> FakeDriver:
    driver = world.drivers.by_host[(await world.host(name)).id]
    assert isinstance(driver, FakeDriver)
    return driver


async def refuse(world: World, *names: str, verb: str = "create_overlay", times: int = 99) -> None:
    for name in names:
        (await driver_on(world, name)).fail(verb, REFUSED, times=times)


async def claims(world: World, sandbox: Sandbox) -> dict[str, AllocationState]:
    """Return the states of a sandbox's claims by the names of their hosts."""
    hosts = await world.store.read(lambda tx: {h.id: h.name for h in tx.hosts.all()})
    return {hosts[one.host_id]: one.state for one in await world.allocations(sandbox.id)}


async def clear(world: World, sandbox: Sandbox, name: str) -> None:
    await world.leftovers.remove(key_of((await world.host(name)).id, sandbox.id))


async def test_the_next_host_takes_what_the_first_one_refused(three: World) -> None:
    await refuse(three, "alpha")
    before = await three.create()
    assert before.host_name == "alpha"
    await three.settle(before.id)

    made = await three.sandbox(before.id)
    assert (made.state, made.host_name) == (SandboxState.RUNNING, "beta")
    assert (made.domain_uuid, made.mac) == (before.domain_uuid, before.mac)
    assert made.failed_hosts == ()
    assert three.domain_of(made).state is DomainState.RUNNING
    assert await claims(three, made) == {"alpha": RELEASING, "beta": AllocationState.ACTIVE}
    await three.assert_ledger()


async def test_a_move_is_told_with_its_reason_and_its_decision(three: World) -> None:
    await refuse(three, "alpha")
    before = await three.create()
    await three.settle(before.id)

    (moved,) = await three.events(sandbox_id=before.id, kind="sandbox.moved")
    assert moved.host_id == (await three.host("beta")).id
    assert (moved.evidence["from_host"], moved.evidence["to_host"]) == ("alpha", "beta")
    assert moved.evidence["failure"] == "build_failed"
    assert "no space left in the pool" in moved.message
    first, second = await three.store.read(lambda tx: tx.decisions.of_sandbox(before.id))
    assert (first.host_name, second.host_name) == ("alpha", "beta")
    assert moved.evidence["decision_id"] == second.id
    assert (await three.sandbox(before.id)).decision_id == second.id
    assert second.refusals == {"tried": 1}


async def test_what_is_left_is_removed_and_its_claim_given_back_on_proof(three: World) -> None:
    await refuse(three, "alpha", verb="define")
    made = await three.create()
    await three.settle(made.id)
    alpha = await driver_on(three, "alpha")
    assert len(alpha.host.volumes) == 3, "overlay and seed beside the image"

    alpha.fail("volumes_absent", HostTimeout("no answer"))
    with pytest.raises(HostTimeout):
        await clear(three, made, "alpha")
    assert (await claims(three, made))["alpha"] is RELEASING, "nothing is given back unproven (I3)"
    await clear(three, made, "alpha")

    assert set(alpha.host.volumes) == {IMAGE}
    assert await claims(three, made) == {"beta": AllocationState.ACTIVE}
    assert {v.host_id for v in await three.volumes(made.id)} == {(await three.host("beta")).id}
    (released,) = await three.events(sandbox_id=made.id, kind="sandbox.released")
    assert released.host_id == (await three.host("alpha")).id
    assert (await three.host("alpha")).reserved_sandboxes == 0
    seen_in_memory = {host.name: host.reserved_sandboxes for host in three.fleet.hosts()}
    assert seen_in_memory == {"alpha": 0, "beta": 1, "gamma": 0}
    await three.assert_ledger()


async def test_a_copy_that_reappears_on_a_host_that_was_left_is_destroyed(three: World) -> None:
    alpha = await driver_on(three, "alpha")
    alpha.fail("start", HostRefused("no such network"), times=99)
    made = await three.create()
    await three.settle(made.id)
    copy = alpha.host.domains[made.domain_uuid or ""]
    copy.state = DomainState.RUNNING
    look = await three.look("alpha")
    assert look.host.unmanaged_cpus == 0, "its claim there stands for it"

    await clear(three, made, "alpha")
    assert alpha.host.domains == {}
    running = await three.sandbox(made.id)
    assert (running.state, running.host_name) == (SandboxState.RUNNING, "beta")
    assert three.domain_of(running).state is DomainState.RUNNING


async def test_a_domain_with_our_uuid_and_no_mark_keeps_the_claim(three: World) -> None:
    alpha = await driver_on(three, "alpha")
    alpha.fail("start", HostRefused("no such network"), times=99)
    made = await three.create()
    await three.settle(made.id)
    alpha.host.domains[made.domain_uuid or ""].mark_xml = None

    with pytest.raises(HostRefused, match=r"not .*'s any more"):
        await clear(three, made, "alpha")
    assert made.domain_uuid in alpha.host.domains
    assert (await claims(three, made))["alpha"] is RELEASING


async def test_three_hosts_fail_and_each_one_says_why(three: World) -> None:
    await three.add_seen_host("omega")
    for name in ("alpha", "beta", "gamma"):
        (await driver_on(three, name)).fail("define", HostRefused(f"{name} says no"), times=99)
    made = await three.create()
    await three.settle(made.id)

    failed = await three.sandbox(made.id)
    assert (failed.state, failed.reason_code) == (SandboxState.ERROR, "build_failed")
    for name in ("alpha", "beta", "gamma"):
        assert f"{name} says no" in (failed.reason_message or "")
    assert [one.host_name for one in failed.failed_hosts] == ["alpha", "beta"]
    assert (await driver_on(three, "omega")).calls["define"] == 0
    assert await claims(three, failed) == {
        "alpha": RELEASING,
        "beta": RELEASING,
        "gamma": AllocationState.CLAIMED,
    }
    await three.assert_ledger()


async def test_a_retry_begins_with_fresh_hosts(three: World) -> None:
    await refuse(three, "alpha", "beta", "gamma", times=3)
    made = await three.create()
    await three.settle(made.id)
    await three.services.sandboxes.retry(made.id, INTENT)
    again = await three.sandbox(made.id)
    assert again.failed_hosts == ()
    await three.look("gamma")
    await three.look("gamma")
    await three.settle(made.id)
    assert (await three.sandbox(made.id)).host_name == "gamma"
    assert (await three.sandbox(made.id)).state is SandboxState.RUNNING


async def test_a_pinned_sandbox_has_no_alternate(three: World) -> None:
    await refuse(three, "beta")
    made = await three.create(host="beta")
    await three.settle(made.id)

    failed = await three.sandbox(made.id)
    assert (failed.state, failed.host_name) == (SandboxState.ERROR, "beta")
    assert "no other host is tried: it is pinned to beta" in (failed.reason_message or "")
    assert await claims(three, failed) == {"beta": AllocationState.CLAIMED}


async def test_without_another_host_the_reasons_are_told(there: World) -> None:
    await refuse(there, "alpha")
    made = await there.create()
    await there.settle(made.id)
    failed = await there.sandbox(made.id)
    assert "constraint_impossible (1 by tried)" in (failed.reason_message or "")


async def down(world: World, name: str) -> None:
    driver = await driver_on(world, name)
    driver.reachable = False
    for _ in range(4):
        world.clock.advance(10)
        for other in ("alpha", "beta", "gamma"):
            await world.look(other)
    assert (await world.host(name)).health is HostHealth.DOWN


async def test_a_host_that_goes_down_while_building_loses_the_sandbox(three: World) -> None:
    alpha = await driver_on(three, "alpha")
    alpha.fail("define", HostUnreachable("connection lost"), after=True)
    made = await three.create()
    with pytest.raises(HostUnreachable):
        await three.settle(made.id)
    await down(three, "alpha")
    await three.settle(made.id)

    moved = await three.sandbox(made.id)
    assert (moved.state, moved.host_name) == (SandboxState.RUNNING, "beta")
    assert (await claims(three, made))["alpha"] is RELEASING
    alpha.reachable = True
    await clear(three, made, "alpha")
    assert alpha.host.domains == {}
    assert await claims(three, made) == {"beta": AllocationState.ACTIVE}


async def test_a_claim_under_which_nothing_was_begun_is_given_back_at_once(three: World) -> None:
    made = await three.create()
    await down(three, "alpha")
    await three.settle(made.id)
    assert (await three.sandbox(made.id)).host_name == "beta"
    assert await claims(three, made) == {"beta": AllocationState.ACTIVE}
    assert (await three.host("alpha")).reserved_sandboxes == 0
    seen_in_memory = {host.name: host.reserved_sandboxes for host in three.fleet.hosts()}
    assert seen_in_memory == {"alpha": 0, "beta": 1, "gamma": 0}
    await three.assert_ledger()


async def test_with_nowhere_to_go_it_waits_for_its_host(three: World) -> None:
    made = await three.create(host="alpha")
    await down(three, "alpha")
    await three.settle(made.id)
    waiting = await three.sandbox(made.id)
    assert waiting.state is SandboxState.CREATED
    assert [one.kind for one in waiting.conditions] == [ConditionKind.HOST_UNREACHABLE]


async def test_one_that_stood_on_its_host_before_stays(three: World) -> None:
    """Its disk was shown to its owner: a start that fails is told, not hidden by an empty disk."""
    made = await three.created(SandboxState.STOPPED, auto_start=False)
    await refuse(three, "alpha", verb="start")
    await three.services.sandboxes.start(made.id, INTENT)
    await three.settle(made.id)
    failed = await three.sandbox(made.id)
    assert (failed.state, failed.host_name) == (SandboxState.ERROR, "alpha")
    assert "it stood on its host before" in (failed.reason_message or "")


async def test_the_time_to_come_up_spans_all_hosts(three: World) -> None:
    await refuse(three, "alpha")
    made = await three.create(provision_timeout_seconds=20)
    await three.settle(made.id)
    assert (await three.sandbox(made.id)).queued_at == made.queued_at
    await refuse(three, "alpha", "beta", "gamma")
    slow = await three.create(provision_timeout_seconds=10)
    three.clock.advance(4)
    await three.converger.converge(slow.id)
    three.clock.advance(20)
    await three.settle(slow.id)
    ended = await three.sandbox(slow.id)
    assert (ended.state, ended.reason_code) == (SandboxState.ERROR, "provision_timeout")


async def test_destroying_waits_for_what_was_left_elsewhere(three: World) -> None:
    await refuse(three, "alpha", verb="define")
    made = await three.create()
    await three.settle(made.id)
    await three.services.sandboxes.destroy(made.id, INTENT)
    await three.settle(made.id)

    leaving = await three.sandbox(made.id)
    assert leaving.live
    (condition,) = leaving.conditions
    assert condition.kind == ConditionKind.LEAVING
    assert condition.message.startswith("alpha failed to build it")
    beta = await driver_on(three, "beta")
    assert beta.host.domains == {}
    looked = beta.calls["domain"]
    await three.settle(made.id)
    assert beta.calls["domain"] == looked, "an empty host is not asked again"

    await clear(three, made, "alpha")
    await three.settle(made.id)
    assert (await three.sandbox(made.id)).state is SandboxState.DESTROYED
    assert await three.allocations(made.id) == ()
    assert await three.volumes(made.id) == ()
    await three.assert_ledger()


async def test_one_destroyed_before_its_second_host_began_waits_likewise(three: World) -> None:
    await refuse(three, "alpha", verb="define")
    made = await three.create()
    await three.converger.converge(made.id)
    assert await three.relocator.relocate(await three.sandbox(made.id), FAILED) is None
    await three.services.sandboxes.destroy(made.id, INTENT)
    await three.settle(made.id)
    assert (await three.sandbox(made.id)).live
    await clear(three, made, "alpha")
    await three.settle(made.id)
    assert not (await three.sandbox(made.id)).live


async def test_room_that_is_taken_meanwhile_is_looked_for_again(three: World) -> None:
    """Memory says that beta has room, the store says no: the move goes on to gamma."""
    await refuse(three, "alpha")
    made = await three.create()
    beta = await three.host("beta")
    now = three.clock.now()
    await three.store.submit(
        lambda tx: tx.hosts.observe(beta.id, at=now, unmanaged_cpus=beta.total_cpus)
    )
    await three.settle(made.id)
    assert (await three.sandbox(made.id)).host_name == "gamma"


async def test_a_sandbox_that_was_changed_meanwhile_is_not_moved(three: World) -> None:
    made = await three.create()
    await three.services.sandboxes.destroy(made.id, INTENT)
    with pytest.raises(StaleRevision):
        await three.relocator.relocate(made, FAILED)
    assert await claims(three, made) == {"alpha": AllocationState.CLAIMED}
    seen_in_memory = {host.name: host.reserved_sandboxes for host in three.fleet.hosts()}
    assert seen_in_memory == {"alpha": 1, "beta": 0, "gamma": 0}


async def test_a_sandbox_whose_demand_is_not_recorded_stays(three: World) -> None:
    made = await three.create()
    kept = await three.change(made.id, decision_id=None)
    assert await three.relocator.relocate(kept, FAILED) == "what it asked for is not recorded"


async def test_all_loops_together_move_clear_and_destroy(three: World) -> None:
    await refuse(three, "alpha", verb="define")
    alpha = await driver_on(three, "alpha")
    async with three.running(poll_seconds=10.0):
        made = await three.create(ttl_seconds=120)
        await three.until_state(made.id, SandboxState.RUNNING)

        async def cleared() -> bool:
            return "alpha" not in await claims(three, made)

        await three.until(cleared, what="alpha is cleared")
        assert set(alpha.host.volumes) == {IMAGE}
        await three.until_state(made.id, SandboxState.DESTROYED, within=300)
    await three.assert_ledger()
    assert all(host.reserved_sandboxes == 0 for host in three.fleet.hosts())
    lasted = (await three.sandbox(made.id)).updated_at - made.created_at
    assert lasted < timedelta(seconds=200)


async def test_one_that_is_stopped_before_it_is_built_anew_is_built_and_stays_off(
    three: World,
) -> None:
    """It was started on alpha already, where its guest did not stay up."""
    made = await three.create()
    await three.change(made.id, phase=Phase.START)
    starting = Become(state=SandboxState.STARTING, reason_code="starting", reason_message="up")
    await three.records.become(await three.sandbox(made.id), starting)
    await three.relocator.relocate(await three.sandbox(made.id), FAILED)
    await three.services.sandboxes.stop(made.id, INTENT)
    assert (await three.sandbox(made.id)).state is SandboxState.STARTING

    await three.settle(made.id)

    stopped = await three.sandbox(made.id)
    assert (stopped.state, stopped.host_name) == (SandboxState.STOPPED, "beta")
    assert three.domain_of(stopped).state is DomainState.SHUT_OFF
