"""Turn by turn from what was asked for to what is there, on a host in memory."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from scheduler.control.build_queue import ASK_AGAIN_SECONDS
from scheduler.control.converger import AT_ONCE_A_HOST
from scheduler.errors import Conflict, HostRefused, HostTimeout, HostUnreachable
from scheduler.hosts.plans import DomainPlan
from scheduler.lifecycle.steps import ConditionKind
from scheduler.model import (
    AddressReport,
    AllocationState,
    DomainState,
    HostHealth,
    IpSource,
    Sandbox,
    SandboxState,
    StateReason,
)
from scheduler.service.intents import Intent
from tests.control.world import IMAGE, ME, World
from tests.hosts.fake import FakeDomain, FakeDriver
from tests.waits import until

INTENT: Intent[Sandbox] = Intent(actor=ME)


def driver_of(there: World) -> FakeDriver:
    (driver,) = there.drivers.by_host.values()
    assert isinstance(driver, FakeDriver)
    return driver


async def test_a_new_sandbox_is_built_and_started_and_found(there: World) -> None:
    made = await there.created()

    assert (made.phase, made.attempts, made.conditions) == (None, 0, ())
    assert made.ip_address == there.domain_of(made).address
    assert there.domain_of(made).state is DomainState.RUNNING
    (held,) = await there.allocations(made.id)
    assert held.state is AllocationState.ACTIVE
    told = [e.evidence["to"] for e in await there.events(sandbox_id=made.id, kind="sandbox.state")]
    assert told == ["STARTING", "RUNNING"]


async def test_one_that_is_not_to_start_is_built_and_rests(there: World) -> None:
    made = await there.created(SandboxState.STOPPED, auto_start=False)

    assert there.domain_of(made).state is DomainState.SHUT_OFF
    assert driver_of(there).calls["start"] == 0


async def test_a_stop_is_graceful_where_the_guest_listens(there: World) -> None:
    made = await there.created()
    await there.services.sandboxes.stop(made.id, INTENT)
    await there.settle(made.id)

    stopped = await there.sandbox(made.id)
    assert (stopped.state, stopped.ip_address) == (SandboxState.STOPPED, None)
    assert there.domain_of(made).reason is StateReason.GUEST_SHUTDOWN
    assert driver_of(there).calls["power_off"] == 0


class DeafGuest(FakeDriver):
    """A guest that never follows the power button."""

    async def shutdown(self, uuid: str) -> None:
        await self._call("shutdown", lambda: None)


async def test_a_deaf_guest_is_asked_again_and_powered_off_at_the_deadline(empty: World) -> None:
    empty.make_driver = DeafGuest
    driver = await empty.add_seen_host()
    made = await empty.created()
    await empty.services.sandboxes.stop(made.id, INTENT)
    begun = empty.clock.now()
    await empty.settle(made.id, turns=300)

    assert (await empty.sandbox(made.id)).state is SandboxState.STOPPED
    assert empty.domain_of(made).reason is StateReason.KILLED
    waited = (empty.clock.now() - begun).total_seconds()
    assert empty.limits.shutdown_seconds <= waited <= empty.limits.shutdown_seconds + 3
    assert driver.calls["shutdown"] >= 5
    assert driver.calls["power_off"] == 1


async def test_a_stopped_one_starts_again_with_a_fresh_address(there: World) -> None:
    made = await there.created(SandboxState.STOPPED, auto_start=False)
    await there.services.sandboxes.start(made.id, INTENT)
    await there.settle(made.id)

    started = await there.sandbox(made.id)
    assert started.state is SandboxState.RUNNING
    assert started.ip_address is not None


async def test_a_refused_build_is_tried_three_times_and_then_told(there: World) -> None:
    driver_of(there).fail("create_overlay", HostRefused("no space left in the pool"), times=99)
    made = await there.create()
    await there.settle(made.id)

    failed = await there.sandbox(made.id)
    assert (failed.state, failed.reason_code) == (SandboxState.ERROR, "build_failed")
    assert "no space left in the pool" in (failed.reason_message or "")
    assert driver_of(there).calls["create_overlay"] == 3
    await there.assert_ledger()


async def test_a_retry_counts_anew(there: World) -> None:
    driver_of(there).fail("define", HostRefused("busy"), times=3)
    made = await there.create()
    await there.settle(made.id)
    assert (await there.sandbox(made.id)).state is SandboxState.ERROR

    await there.services.sandboxes.retry(made.id, INTENT)
    await there.look()
    await there.look()
    await there.settle(made.id)
    assert (await there.sandbox(made.id)).state is SandboxState.RUNNING


async def test_a_refusal_is_a_condition_while_it_lasts(there: World) -> None:
    driver_of(there).fail("start", HostRefused("no such machine type"), times=1)
    made = await there.create()
    pause = await there.converger.converge(made.id)

    waiting = await there.sandbox(made.id)
    assert pause == pytest.approx(1.0)
    assert [(c.kind, c.message) for c in waiting.conditions] == [
        (ConditionKind.FAILING, "no such machine type")
    ]
    there.clock.advance(1)
    await there.settle(made.id)
    up = await there.sandbox(made.id)
    assert (up.state, up.conditions) == (SandboxState.RUNNING, ())


class SilentGuest(FakeDriver):
    """A guest that no source knows an address of, or only such as are not its network's."""

    refused: tuple[str, ...] = ()
    claimed: str | None = None
    source = IpSource.ARP

    async def addresses(self, uuid: str, mac: str, network: str) -> AddressReport:
        await super().addresses(uuid, mac, network)
        return AddressReport(address=self.claimed, source=self.source, refused=self.refused)


async def test_a_guest_without_an_address_is_an_error_after_its_time(empty: World) -> None:
    empty.make_driver = SilentGuest
    await empty.add_seen_host()
    made = await empty.created(SandboxState.ERROR, provision_timeout_seconds=30)

    assert made.reason_code == "provision_timeout"
    assert "no known address" in (made.reason_message or "")
    assert (empty.clock.now() - made.created_at).total_seconds() == pytest.approx(30, abs=1.5)
    await empty.assert_ledger()


async def test_an_address_outside_the_network_is_told_once_and_not_used(empty: World) -> None:
    empty.make_driver = SilentGuest
    driver = await empty.add_seen_host()
    assert isinstance(driver, SilentGuest)
    driver.refused = ("8.8.8.8",)
    made = await empty.create()
    for _ in range(3):
        await empty.converger.converge(made.id)
        empty.clock.advance(1)

    seeking = await empty.sandbox(made.id)
    assert (seeking.state, seeking.ip_address) == (SandboxState.STARTING, None)
    assert [c.kind for c in seeking.conditions] == [ConditionKind.ADDRESS_REFUSED]
    assert "8.8.8.8" in seeking.conditions[0].message
    assert len(await empty.events(sandbox_id=made.id, kind="sandbox.condition")) == 1


async def test_an_address_that_another_guest_has_is_told_and_used_on_the_hosts_word_only(
    empty: World,
) -> None:
    empty.make_driver = SilentGuest
    driver = await empty.add_seen_host()
    assert isinstance(driver, SilentGuest)
    driver.claimed = "192.168.122.7"
    first = await empty.created(SandboxState.RUNNING)
    second = await empty.create()
    for _ in range(3):
        await empty.converger.converge(second.id)
        empty.clock.advance(1)

    seeking = await empty.sandbox(second.id)
    assert (seeking.state, seeking.ip_address) == (SandboxState.STARTING, None)
    assert [c.kind for c in seeking.conditions] == [ConditionKind.ADDRESS_REFUSED]
    assert f"192.168.122.7, which {first.id} has" in seeking.conditions[0].message
    driver.source = IpSource.LEASE
    await empty.settle(second.id)
    assert (await empty.sandbox(second.id)).ip_address == "192.168.122.7"


async def test_an_untouched_one_is_destroyed_without_a_host_call(there: World) -> None:
    made = await there.create()
    before = dict(driver_of(there).calls)
    await there.services.sandboxes.destroy(made.id, INTENT)
    await there.settle(made.id)

    assert (await there.sandbox(made.id)).state is SandboxState.DESTROYED
    assert dict(driver_of(there).calls) == before
    assert await there.allocations(made.id) == ()
    await there.assert_ledger()


async def test_one_that_is_deleted_while_it_is_built_leaves_nothing(there: World) -> None:
    driver = driver_of(there)
    driver.gate = asyncio.Event()
    made = await there.create()
    building = asyncio.create_task(there.converger.converge(made.id))
    await until(lambda: driver.calls["domain"] == 1)
    driver.gate.set()
    await until(lambda: driver.calls["create_overlay"] == 1)
    await there.services.sandboxes.destroy(made.id, INTENT)
    await building
    await there.settle(made.id)

    assert (await there.sandbox(made.id)).state is SandboxState.DESTROYED
    assert driver.host.domains == {}
    assert set(driver.host.volumes) == {IMAGE}
    await there.assert_ledger()


async def test_i5_a_foreign_domain_with_our_uuid_is_never_touched(there: World) -> None:
    made = await there.create()
    uuid = made.domain_uuid or ""
    squatter = FakeDomain(uuid=uuid, name="squatter", state=DomainState.RUNNING)
    driver_of(there).host.domains[uuid] = replace(squatter)
    await there.settle(made.id)

    held = await there.sandbox(made.id)
    assert held.state is SandboxState.CREATED
    assert [c.kind for c in held.conditions] == [ConditionKind.FOREIGN_DOMAIN]
    await there.services.sandboxes.destroy(made.id, INTENT)
    await there.settle(made.id)
    assert (await there.sandbox(made.id)).state is SandboxState.DESTROYED
    assert driver_of(there).host.domains[uuid] == squatter


async def test_i5_what_was_built_is_kept_when_a_foreigner_takes_its_uuid(there: World) -> None:
    made = await there.created()
    driver_of(there).host.domains[made.domain_uuid or ""].mark_xml = None
    await there.services.sandboxes.destroy(made.id, INTENT)
    await there.settle(made.id)

    assert driver_of(there).host.domains[made.domain_uuid or ""].state is DomainState.RUNNING
    assert len(driver_of(there).host.volumes) == 3
    assert len(await there.allocations(made.id)) == 1


async def test_a_host_that_does_not_answer_changes_no_state(there: World) -> None:
    made = await there.create()
    driver_of(there).reachable = False
    with pytest.raises(HostUnreachable):
        await there.converger.converge(made.id)
    assert (await there.sandbox(made.id)).state is SandboxState.CREATED
    driver_of(there).reachable = True
    await there.settle(made.id)
    assert (await there.sandbox(made.id)).state is SandboxState.RUNNING


async def test_a_host_that_is_down_is_not_asked_and_that_is_told(there: World) -> None:
    made = await there.created()
    driver_of(there).reachable = False
    for _ in range(3):
        await there.look()
    assert (await there.host()).health is HostHealth.DOWN
    await there.services.sandboxes.stop(made.id, INTENT)
    before = driver_of(there).calls["shutdown"]
    assert await there.converger.converge(made.id) is None

    told = await there.sandbox(made.id)
    assert told.state is SandboxState.RUNNING
    assert [c.kind for c in told.conditions] == [ConditionKind.HOST_UNREACHABLE]
    assert driver_of(there).calls["shutdown"] == before


@pytest.mark.parametrize("verb", ["create_overlay", "create_seed", "define", "start"])
async def test_a_call_whose_answer_was_lost_is_proven_not_repeated_blindly(
    there: World, verb: str
) -> None:
    driver_of(there).time_out(verb)
    made = await there.create()
    with suppress(HostTimeout):
        await there.converger.converge(made.id)
    assert (await there.sandbox(made.id)).state is not SandboxState.RUNNING
    there.clock.advance(1)
    await there.settle(made.id)

    assert (await there.sandbox(made.id)).state is SandboxState.RUNNING
    assert len(driver_of(there).host.domains) == 1
    assert len(driver_of(there).host.volumes) == 3
    await there.assert_ledger()


async def test_a_base_that_was_changed_is_never_started_on(there: World) -> None:
    made = await there.created(SandboxState.STOPPED, auto_start=False)
    driver_of(there).host.add_image(IMAGE, 1024, 9)
    await there.services.sandboxes.start(made.id, INTENT)
    await there.settle(made.id)

    failed = await there.sandbox(made.id)
    assert (failed.state, failed.reason_code) == (SandboxState.ERROR, "start_failed")
    assert "was changed since" in (failed.reason_message or "")
    assert driver_of(there).calls["start"] == 0


async def test_a_wish_that_comes_in_between_is_no_failure(empty: World) -> None:
    class Interrupted(FakeDriver):
        async def define(self, plan: DomainPlan) -> None:
            await super().define(plan)
            (sandbox,) = await empty.store.read(lambda tx: tx.sandboxes.live())
            await empty.services.sandboxes.extend(sandbox.id, 999, INTENT)

    empty.make_driver = Interrupted
    await empty.add_seen_host()
    made = await empty.create(ttl_seconds=60)
    assert await empty.converger.converge(made.id) is None
    assert (await empty.sandbox(made.id)).state is SandboxState.RUNNING


async def test_a_record_that_changes_under_every_step_is_told(empty: World) -> None:
    class Meddler(FakeDriver):
        async def ensure_pool(self) -> None:
            (sandbox,) = await empty.store.read(lambda tx: tx.sandboxes.live())
            await empty.change(sandbox.id, labels={"calls": str(self.calls["ensure_pool"])})
            await super().ensure_pool()

    empty.make_driver = Meddler
    await empty.add_seen_host()
    made = await empty.create()
    with pytest.raises(Conflict):
        await empty.converger.converge(made.id)


async def test_no_further_step_is_taken_once_stopped(there: World) -> None:
    made = await there.create()
    before = dict(driver_of(there).calls)
    there.converger.stop()
    assert await there.converger.converge(made.id) is not None
    assert dict(driver_of(there).calls) == before


async def test_what_is_not_there_or_over_costs_nothing(there: World) -> None:
    made = await there.created()
    await there.services.sandboxes.destroy(made.id, INTENT)
    await there.settle(made.id)
    before = dict(driver_of(there).calls)

    assert await there.converger.converge(made.id) is None
    assert await there.converger.converge("SBX-nowhere") is None
    assert dict(driver_of(there).calls) == before


async def test_one_host_is_not_asked_for_everybody_at_once(empty: World) -> None:
    driver = await empty.add_seen_host(cpus=200, memory_mb=400_000, storage_mb=400_000)
    made = [await empty.create() for _ in range(AT_ONCE_A_HOST + 6)]
    driver.gate = asyncio.Event()
    before = driver.calls["domain"]
    turns = [asyncio.create_task(empty.converger.converge(one.id)) for one in made]
    await until(lambda: driver.calls["domain"] - before >= AT_ONCE_A_HOST)
    await empty.breathe()
    assert driver.calls["domain"] - before == AT_ONCE_A_HOST
    driver.gate.set()
    assert set(await asyncio.gather(*turns)) == {None, ASK_AGAIN_SECONDS}
    empty.converger.forget(made[0].host_id or "")
