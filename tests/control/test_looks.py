"""One look: believed whole or not at all, of the right machine, with what follows from it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.control.looks import Look
from scheduler.errors import HostTimeout, NotFound
from scheduler.model import (
    DesiredState,
    DomainState,
    HostHealth,
    HostResources,
    Inventory,
    Phase,
    Sandbox,
    VirtType,
    Volume,
    VolumeRole,
    VolumeState,
)
from scheduler.service.intents import Intent
from scheduler.service.leftovers import condemn
from tests.control.world import IMAGE, ME, World
from tests.hosts.fake import FakeDomain, FakeDriver

INTENT: Intent[HostResources] = Intent(actor=ME)


def driver_of(world: World) -> FakeDriver:
    driver = next(iter(world.drivers.by_host.values()))
    assert isinstance(driver, FakeDriver)
    return driver


async def health(world: World, look: Look | None = None) -> list[tuple[str, str | None]]:
    return [(event.message, event.reason_code) for event in await world.events(kind="host.health")]


async def test_facts_and_limits_are_written(empty: World) -> None:
    await empty.add_host(cpus=8, memory_mb=16384, storage_mb=100_000)
    look = await empty.look()

    host = await empty.host()
    assert host == look.host
    assert (host.health, host.total_cpus, host.total_memory_mb) == (HostHealth.UP, 8, 16384)
    assert (host.limit_cpus, host.limit_memory_mb) == (8, 16384)
    assert host.limit_storage_mb == 100_000 - 8, "the golden image is somebody's"
    assert (host.arch, host.proven_virt_type) == ("x86_64", VirtType.QEMU)
    assert host.observed_images == (IMAGE,)
    assert host.observed_networks == ("default",)
    assert host.observed_pool_active
    assert host.observed_at == host.last_seen_at == empty.clock.now()
    assert host.host_uuid == driver_of(empty).host.host_uuid


async def test_a_host_without_its_pool_has_no_storage(there: World) -> None:
    class Poolless(FakeDriver):
        async def inventory(self) -> Inventory:
            return replace(await super().inventory(), pool=None)

    there.make_driver = Poolless
    await there.add_host("beta")
    await there.look("beta")
    host = await there.host("beta")
    assert (host.total_storage_mb, host.limit_storage_mb, host.observed_images) == (0, 0, ())
    assert not host.observed_pool_active


async def test_a_planned_volume_that_is_there_was_made_by_a_daemon_that_died(there: World) -> None:
    made = await there.create()
    await there.records.begin(made, Phase.BUILD, volumes=planned(there, made, "a", "b"))
    driver_of(there).host.add_image("a", 100, 1)
    await there.look()
    states = {volume.name: volume.state for volume in await there.volumes(made.id)}
    assert states == {"a": VolumeState.CREATED, "b": VolumeState.PLANNED}


def planned(there: World, made: Sandbox, *names: str) -> tuple[Volume, ...]:
    return tuple(
        Volume(
            owner=made.id,
            host_id=made.host_id or "",
            pool="default",
            name=name,
            role=VolumeRole.OVERLAY,
            created_at=there.clock.now(),
        )
        for name in names
    )


async def test_others_guests_and_volumes_are_counted_and_ours_are_not(there: World) -> None:
    made = await there.created()
    fake = driver_of(there).host
    fake.domains["u1"] = FakeDomain(
        uuid="u1", name="theirs", vcpus=3, memory_mb=1000, state=DomainState.RUNNING
    )
    fake.domains["u2"] = FakeDomain(uuid="u2", name="off", vcpus=2, memory_mb=500)
    fake.add_image("their-disk", 100, 50)
    await there.look()

    host = await there.host()
    assert (host.unmanaged_cpus, host.unmanaged_memory_mb) == (3, 1000)
    assert host.unmanaged_storage_mb == 50 + 8
    assert (host.limit_cpus, host.reserved_cpus) == (8 - 3, made.vcpus)


async def test_what_is_left_of_a_destroyed_sandbox_is_charged_until_it_is_removed(
    there: World,
) -> None:
    """Its volumes are listed again to be removed, and no allocation stands for them any more."""
    made, other = await there.created(), await there.created()
    fake = driver_of(there).host
    (overlay, *_) = await there.volumes(made.id)
    disk = fake.volumes[overlay.name]
    await there.services.sandboxes.destroy(made.id, Intent(actor=ME))
    await there.settle(made.id)
    fake.volumes[overlay.name] = replace(disk, physical=30 * 2**20)
    host = (await there.look()).host
    assert host.unmanaged_storage_mb == 30 + 8, "it is there, and nobody listed it"

    gone = await there.sandbox(made.id)
    at = there.clock.now()
    await there.store.submit(lambda tx: condemn(tx, gone, host, (overlay,), at=at))
    host = (await there.look()).host
    assert host.unmanaged_storage_mb == 30 + 8
    assert host.reserved_sandboxes == 1, other.id


async def test_one_built_while_its_host_was_listed_is_ours(there: World) -> None:
    class Slow(FakeDriver):
        made: Sandbox | None = None

        async def inventory(self) -> Inventory:
            if self.made is None and self.calls["inventory"] == 1:
                self.made = await there.created(host="beta", vcpus=2)
            return await super().inventory()

    there.make_driver = Slow
    driver = await there.add_seen_host("beta", cpus=4)
    assert isinstance(driver, Slow)
    look = await there.look("beta")

    assert driver.made is not None
    assert driver.made.id in {sandbox.id for sandbox in look.records.sandboxes}
    assert len(look.records.volumes) == 2
    host = await there.host("beta")
    assert (host.unmanaged_cpus, host.unmanaged_memory_mb, host.limit_cpus) == (0, 0, 4)
    assert host.unmanaged_storage_mb == 8


async def test_what_was_not_written_since_the_last_look_is_not_read_again(there: World) -> None:
    made = await there.created()
    other = await there.created()
    first = {one.id: one for one in (await there.look()).records.sandboxes}
    await there.services.sandboxes.stop(made.id, Intent(actor=ME))
    second = {one.id: one for one in (await there.look()).records.sandboxes}
    assert second[other.id] is first[other.id]
    assert second[made.id].desired_state is DesiredState.STOPPED


async def test_health_has_hysteresis_and_every_change_its_event(there: World) -> None:
    driver = driver_of(there)
    assert await health(there) == [("host alpha is UP", "polled")]
    driver.reachable = False
    verdicts = [(await there.look()).host.health for _ in range(4)]
    assert verdicts == [HostHealth.SUSPECT, HostHealth.SUSPECT, HostHealth.DOWN, HostHealth.DOWN]
    driver.reachable = True
    verdicts = [(await there.look()).host.health for _ in range(3)]
    assert verdicts == [HostHealth.DOWN, HostHealth.UP, HostHealth.UP]
    assert [message for message, _ in await health(there)] == [
        "host alpha is UP",
        f"host alpha is SUSPECT: host {driver.host.host_id} does not answer",
        f"host alpha is DOWN: host {driver.host.host_id} does not answer",
        "host alpha is UP",
    ]


async def test_a_miss_keeps_the_facts_and_forgets_the_listings(there: World) -> None:
    before = await there.host()
    await there.look()
    assert there.listings.previous(before.id) is not None
    driver_of(there).fail("inventory", HostTimeout("did not answer in time"))
    look = await there.look()

    after = await there.host()
    assert (look.inventory, look.given_up) == (None, False)
    assert (after.limit, after.total_cpus, after.host_uuid) == (
        before.limit,
        before.total_cpus,
        before.host_uuid,
    )
    assert after.health_reason == "did not answer in time"
    assert there.listings.latest(before.id) is None


async def test_another_machine_at_the_same_address_is_not_believed(there: World) -> None:
    made = await there.created()
    fake = driver_of(there).host
    before = await there.host()
    fake.host_uuid, fake.domains = "another-machine", {}
    for _ in range(3):
        look = await there.look()
        assert look.inventory is None
    after = await there.host()
    assert after.health is HostHealth.DOWN
    assert after.host_uuid == before.host_uuid
    assert "another machine answers" in (after.health_reason or "")
    events = await there.events(kind="host.health")
    assert events[-1].reason_code == "host_identity_changed"
    assert (await there.sandbox(made.id)).state.value == "RUNNING"


async def test_the_second_record_of_one_machine_is_refused(there: World) -> None:
    driver = await there.add_host("beta")
    driver.host.host_uuid = driver_of(there).host.host_uuid
    look = await there.look("beta")
    assert look.inventory is None
    host = await there.host("beta")
    assert (host.host_uuid, host.limit_cpus) == (None, 0)
    assert "is the same machine as alpha" in (host.health_reason or "")
    assert (await there.look()).host.health is HostHealth.UP


async def test_a_machine_that_tells_no_uuid_is_refused(empty: World) -> None:
    driver = await empty.add_host()
    driver.host.host_uuid = None  # type: ignore[assignment]
    assert (await empty.look()).inventory is None
    host = await empty.host()
    assert "set host_uuid in its libvirtd.conf" in (host.health_reason or "")
    assert host.limit_cpus == 0


async def test_a_host_that_was_removed_is_told_as_such(there: World) -> None:
    host = await there.host()
    await there.services.hosts.remove("alpha", INTENT)
    with pytest.raises(NotFound):
        await there.looker.look(host.id)
    there.looker.forget(host.id)
    assert there.listings.latest(host.id) is None
