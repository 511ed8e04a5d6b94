"""Intent before act, proof before release."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import pytest

from scheduler.control.effects import overlay_name, seed_name
from scheduler.errors import HostRefused, HostTimeout
from scheduler.lifecycle.mark_documents import read_mark
from scheduler.model import Phase, Sandbox, SandboxState, VolumeRole, VolumeState
from scheduler.service.intents import Intent
from tests.control.world import IMAGE, ME, World
from tests.hosts.fake import FakeDriver

T = TypeVar("T")
INTENT: Intent[Sandbox] = Intent(actor=ME)

PHASES = {
    "create_overlay": {Phase.BUILD},
    "create_seed": {Phase.BUILD},
    "define": {Phase.BUILD},
    "start": {Phase.START},
    "shutdown": {Phase.STOP},
    "power_off": {Phase.STOP, Phase.DESTROY},
    "undefine": {Phase.DESTROY},
    "delete_volume": {Phase.DESTROY},
    "ensure_pool": set(Phase),
}
"""Which committed phase each verb that changes something on a host needs."""


class Witness(FakeDriver):
    """Reads the store at every mutating call: the intent must be durable by then."""

    world: World
    seen: list[str]

    async def _call(self, verb: str, effect: Callable[[], T]) -> T:
        if verb in PHASES:
            (sandbox,) = await self.world.store.read(lambda tx: tx.sandboxes.live())
            assert sandbox.phase in PHASES[verb], (verb, sandbox.phase)
            listed = {volume.name for volume in await self.world.volumes(sandbox.id)}
            assert listed >= {overlay_name(sandbox.id)}
            self.seen.append(verb)
        return await super()._call(verb, effect)


async def witnessed(empty: World) -> Witness:
    empty.make_driver = Witness
    driver = await empty.add_seen_host()
    assert isinstance(driver, Witness)
    driver.world, driver.seen = empty, []
    return driver


async def test_i4_no_host_call_without_a_committed_intent(empty: World) -> None:
    driver = await witnessed(empty)
    made = await empty.created()
    assert driver.seen == [
        "ensure_pool", "create_overlay", "create_seed", "define", "ensure_pool", "start",
    ]  # fmt: skip
    driver.seen.clear()
    await empty.services.sandboxes.stop(made.id, INTENT)
    await empty.settle(made.id)
    await empty.services.sandboxes.start(made.id, INTENT)
    await empty.settle(made.id)
    assert driver.seen == ["shutdown", "ensure_pool", "start"]
    driver.seen.clear()
    await empty.services.sandboxes.destroy(made.id, INTENT)
    await empty.settle(made.id)
    assert driver.seen == [
        "power_off", "undefine", "ensure_pool", "delete_volume", "delete_volume",
    ]  # fmt: skip
    assert (await empty.sandbox(made.id)).state is SandboxState.DESTROYED


async def test_volumes_are_listed_before_they_are_made_and_marked_after(empty: World) -> None:
    await witnessed(empty)
    made = await empty.created()
    listed = await empty.volumes(made.id)
    assert {(v.name, v.role, v.state) for v in listed} == {
        (overlay_name(made.id), VolumeRole.OVERLAY, VolumeState.CREATED),
        (seed_name(made.id), VolumeRole.SEED, VolumeState.CREATED),
    }


async def test_a_seed_the_host_cannot_take_is_not_listed_any_more(empty: World) -> None:
    driver = await empty.add_seen_host(streams=False)
    made = await empty.created()
    assert [v.name for v in await empty.volumes(made.id)] == [overlay_name(made.id)]
    assert seed_name(made.id) not in driver.host.volumes


@pytest.mark.parametrize(
    "verb", ["power_off", "undefine", "ensure_pool", "delete_volume", "volumes_absent"]
)
@pytest.mark.parametrize("after", [False, True])
async def test_i3_a_reservation_is_released_only_on_proof(
    empty: World, verb: str, after: bool
) -> None:
    driver = await empty.add_seen_host()
    made = await empty.created()
    await empty.services.sandboxes.destroy(made.id, INTENT)
    lost = HostTimeout(f"did not {verb} in time")
    driver.fail(verb, lost, times=3, after=after)
    failures = 0
    while (await empty.sandbox(made.id)).live:
        try:
            await empty.converger.converge(made.id)
        except HostTimeout:
            failures += 1
            assert len(await empty.allocations(made.id)) == 1
            assert len(await empty.volumes(made.id)) == 2
            assert (await empty.sandbox(made.id)).phase is Phase.DESTROY

    assert failures == (1 if (verb, after) == ("undefine", True) else 3)

    assert await empty.allocations(made.id) == ()
    assert driver.host.domains == {}
    assert set(driver.host.volumes) == {IMAGE}
    await empty.assert_ledger()


class Liar(FakeDriver):
    """A host that says a volume was deleted, and keeps it."""

    lies = 2

    async def delete_volume(self, name: str) -> None:
        if self.lies:
            self.lies -= 1
            return
        await super().delete_volume(name)


async def test_i3_a_volume_that_is_still_there_keeps_the_allocation(empty: World) -> None:
    empty.make_driver = Liar
    driver = await empty.add_seen_host()
    made = await empty.created()
    await empty.services.sandboxes.destroy(made.id, INTENT)
    pause = await empty.converger.converge(made.id)

    assert pause == pytest.approx(1.0)
    held = await empty.sandbox(made.id)
    assert (held.state, held.phase, held.attempts) == (SandboxState.RUNNING, Phase.DESTROY, 1)
    assert "still holds something" in held.conditions[-1].message
    assert len(await empty.allocations(made.id)) == 1
    assert len(driver.host.volumes) == 3
    empty.clock.advance(1)
    await empty.settle(made.id)
    assert await empty.allocations(made.id) == ()
    assert set(driver.host.volumes) == {IMAGE}


async def test_refusals_are_counted_with_growing_pauses(empty: World) -> None:
    driver = await empty.add_seen_host()
    made = await empty.created()
    await empty.services.sandboxes.destroy(made.id, INTENT)
    driver.fail("undefine", HostRefused("it has a snapshot"), times=4)
    pauses = []
    for _ in range(4):
        pause = await empty.converger.converge(made.id)
        assert pause is not None
        pauses.append(pause)
        empty.clock.advance(pause)
    assert pauses == pytest.approx([1.0, 2.0, 4.0, 8.0])
    assert (await empty.sandbox(made.id)).attempts == 4
    await empty.settle(made.id)
    assert (await empty.sandbox(made.id)).state is SandboxState.DESTROYED


async def test_i3_volumes_are_not_looked_for_in_another_pool_than_their_own(empty: World) -> None:
    driver = await empty.add_seen_host()
    made = await empty.created()
    host = await empty.host()
    await _set_pool(empty, "other")
    await empty.services.sandboxes.destroy(made.id, INTENT)
    await empty.converger.converge(made.id)

    held = await empty.sandbox(made.id)
    assert held.state is SandboxState.RUNNING
    assert f"in pool {host.pool} of host alpha, whose pool is other" in held.conditions[-1].message
    assert len(await empty.allocations(made.id)) == 1
    assert len(driver.host.domains) == 1
    await _set_pool(empty, host.pool)
    empty.clock.advance(60)
    await empty.settle(made.id)
    assert (await empty.sandbox(made.id)).state is SandboxState.DESTROYED
    assert set(driver.host.volumes) == {IMAGE}


async def test_a_build_does_not_go_on_in_another_pool(empty: World) -> None:
    driver = await empty.add_seen_host()
    driver.fail("define", HostRefused("busy"))
    made = await empty.create()
    await empty.converger.converge(made.id)
    await _set_pool(empty, "other")
    await empty.settle(made.id)

    failed = await empty.sandbox(made.id)
    assert failed.reason_code == "build_failed"
    assert "whose pool is other" in (failed.reason_message or "")


async def _set_pool(world: World, pool: str) -> None:
    """Edit the record as the configuration file does at a start."""
    host = await world.host()
    edited = replace(host, pool=pool)
    await world.store.submit(
        lambda tx: tx.hosts.replace(edited, expected_generation=host.generation)
    )


async def test_the_mark_says_what_a_rebuild_needs(there: World) -> None:
    (driver,) = there.drivers.by_host.values()
    made = await there.created(anti_affinity_group="db", labels={"team": "a"})
    (driver,) = there.drivers.by_host.values()
    (domain,) = (await driver.inventory()).domains
    assert domain.mark is not None
    marked = read_mark(domain.mark.document)
    assert (marked.sandbox_id, marked.domain_uuid) == (made.id, made.domain_uuid)
    assert (marked.labels, marked.anti_affinity_group) == ({"team": "a"}, "db")
    assert set(marked.volumes) == {overlay_name(made.id), seed_name(made.id)}
    assert marked.base_fingerprint == made.base_fingerprint is not None


async def test_one_of_which_no_volume_is_listed_any_more_needs_no_pool(empty: World) -> None:
    driver = await empty.add_seen_host()
    made = await empty.created()
    for volume in await empty.volumes(made.id):
        await driver.delete_volume(volume.name)
        key = (volume.host_id, volume.pool, volume.name)
        await empty.store.submit(lambda tx, key=key: tx.volumes.remove(*key))  # type: ignore[misc]
    before = driver.calls["ensure_pool"]
    await empty.services.sandboxes.destroy(made.id, INTENT)
    await empty.settle(made.id)
    assert (await empty.sandbox(made.id)).state is SandboxState.DESTROYED
    assert driver.calls["ensure_pool"] == before


async def test_a_record_without_a_uuid_is_a_bug_and_reaches_no_host(there: World) -> None:
    (driver,) = there.drivers.by_host.values()
    assert isinstance(driver, FakeDriver)
    made = await there.created()
    broken = await there.change(made.id, domain_uuid=None)
    with pytest.raises(ValueError, match="no domain UUID"):
        await there.effects.shut_down(broken, await there.host(), driver)
    assert driver.calls["shutdown"] == 0
