"""Replicas on hosts in memory: copied whole or not at all, never rewritten under a clone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scheduler.control.replicator import HOST_AGAIN_SECONDS, PART_BYTES
from scheduler.errors import Conflict, HostRefused, HostUnreachable
from scheduler.hosts import ObjectBusy
from scheduler.model import Event, HostHealth, Inventory, ReplicaState, SandboxState, VolumeRole
from scheduler.model.images import replica_volume
from scheduler.service.intents import Intent
from scheduler.store import Transaction
from tests.clocks import ManualClock
from tests.control.imagery import Imagery, content
from tests.control.world import ME, World, world
from tests.hosts.fake import FakeDriver

READY, COPYING = ReplicaState.READY, ReplicaState.COPYING
INTENT: Intent[Any] = Intent(actor=ME)


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, ManualClock()) as opened:
        yield opened


@pytest.fixture
async def alpha(there: World) -> FakeDriver:
    return await there.add_seen_host("alpha")


@pytest.fixture
def imagery(there: World) -> Imagery:
    return Imagery(there)


async def events(there: World, kind: str) -> list[Event]:
    return await there.events(kind=kind)


async def test_a_host_is_given_every_byte_and_gives_them_back(
    there: World, alpha: FakeDriver, imagery: Imagery
) -> None:
    image = await imagery.ready()
    await imagery.prefetch(image)
    assert await imagery.replicate(image) is None
    replica = await imagery.replica(image)
    assert replica is not None
    assert (replica.state, replica.pinned) == (READY, True)
    assert imagery.held(alpha, image) == content()
    assert imagery.copied == [image.size_bytes]
    (volume,) = await there.volumes(image.id)
    assert (volume.role, volume.name) == (VolumeRole.IMAGE, replica.volume)
    assert await imagery.replicate(image) is None
    assert imagery.copied == [image.size_bytes]


async def test_a_pool_that_is_busy_fails_no_copy_and_has_nothing_carried_twice(
    alpha: FakeDriver, imagery: Imagery
) -> None:
    """For as long as another disk is copied there, which may be an hour."""
    image = await imagery.ready()
    await imagery.prefetch(image)
    alpha.fail("refresh_pool", ObjectBusy("the pool has asynchronous jobs running"), times=20)
    for _ in range(20):
        assert await imagery.replicate(image) == HOST_AGAIN_SECONDS
    waiting = await imagery.replica(image)
    assert waiting is not None
    assert (waiting.state, waiting.attempts, waiting.reason) == (COPYING, 0, None)
    assert await imagery.replicate(image) is None
    assert await imagery.state(image) is READY
    assert imagery.copied == [image.size_bytes]


async def test_a_sandbox_waits_for_its_image_and_is_then_built_upon_it(
    there: World, alpha: FakeDriver, imagery: Imagery
) -> None:
    image = await imagery.ready()
    box = await there.create(base_image="golden")
    assert box.image_digest == image.digest
    assert await there.converger.converge(box.id) == 1.0
    assert there.nudged[-1] == f"{image.id}/{box.host_id}"
    assert not any("sbx-" in name for name in alpha.host.volumes)
    await imagery.replicate(image)
    await there.settle(box.id)
    assert (await there.sandbox(box.id)).state is SandboxState.RUNNING
    overlay = alpha.host.volumes[f"{box.id.lower()}.qcow2"]
    assert overlay.backing == f"/pool/{replica_volume(image.digest or '')}"


async def test_what_a_crash_left_half_written_is_found_and_written_anew(
    there: World, alpha: FakeDriver, imagery: Imagery
) -> None:
    image = await imagery.ready()
    await imagery.prefetch(image)
    alpha.fail("write_volume", HostUnreachable("gone"))
    with pytest.raises(HostUnreachable):
        await imagery.replicate(image)
    assert await imagery.state(image) is COPYING
    held = alpha.host.contents[replica_volume(image.digest or "")]
    held[: len(held) // 2] = content()[: len(held) // 2]
    imagery.replicator = imagery.fresh_replicator()
    assert await imagery.replicate(image) is None
    assert imagery.held(alpha, image) == content()
    assert await imagery.state(image) is READY


async def test_what_was_whole_when_the_daemon_died_is_not_copied_again(
    there: World, alpha: FakeDriver, imagery: Imagery
) -> None:
    image = await imagery.ready()
    await imagery.prefetch(image)
    alpha.fail("refresh_pool", HostUnreachable("gone"))
    with pytest.raises(HostUnreachable):
        await imagery.replicate(image)
    imagery.replicator, imagery.copied = imagery.fresh_replicator(), []
    assert await imagery.replicate(image) is None
    assert (await imagery.state(image), imagery.copied) == (READY, [])


async def test_a_host_that_gives_back_other_bytes_is_not_believed(
    there: World, alpha: FakeDriver, imagery: Imagery, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = await imagery.ready()
    await imagery.prefetch(image)
    kept = alpha._write

    def rots(name: str, offset: int, part: bytes) -> None:
        kept(name, offset, b"\0" + part[1:])

    monkeypatch.setattr(alpha, "_write", rots)
    pause = await imagery.replicate(image)
    replica = await imagery.replica(image)
    assert replica is not None
    assert pause is not None
    assert pause > 0
    assert (replica.state, replica.attempts) == (COPYING, 1)
    assert "does not give back" in (replica.reason or "")
    (failed,) = await events(there, "image.replica_failed")
    assert failed.host_id == replica.host_id
    monkeypatch.undo()
    assert await imagery.replicate(image) == pytest.approx(pause)
    there.clock.advance(pause)
    assert await imagery.replicate(image) is None
    assert await imagery.state(image) is READY


async def test_what_clones_stand_on_is_never_written(
    there: World, alpha: FakeDriver, imagery: Imagery
) -> None:
    image = await imagery.ready()
    await imagery.prefetch(image)
    await imagery.replicate(image)
    box = await there.created(base_image="golden")
    volume = replica_volume(image.digest or "")
    alpha.host.contents[volume][-1] ^= 1

    def forget(tx: Transaction) -> None:
        found = tx.replicas.get(image.id, box.host_id or "")
        assert found is not None
        tx.replicas.remove(found)
        tx.volumes.remove(box.host_id or "", "default", volume)

    await there.store.submit(forget)
    await imagery.prefetch(image)
    assert await imagery.replicate(image) is not None
    replica = await imagery.replica(image)
    assert replica is not None
    assert "sandboxes stand on it" in (replica.reason or "")
    altered = bytearray(content())
    altered[-1] ^= 1
    assert imagery.held(alpha, image) == bytes(altered)


async def test_a_host_without_room_is_not_filled_and_its_sandboxes_move_on(
    there: World, imagery: Imagery
) -> None:
    await there.add_seen_host("alpha", storage_mb=1100)
    await there.add_seen_host("beta")
    image = await imagery.ready()
    await imagery.prefetch(image, "alpha")
    host = await there.host()
    await there.store.submit(
        lambda tx: tx.hosts.observe(
            host.id, at=there.clock.now(), unmanaged_storage_mb=host.total_storage_mb
        )
    )
    for _ in range(3):
        pause = await imagery.replicate(image)
        assert pause is not None
        there.clock.advance(pause)
    replica = await imagery.replica(image)
    assert replica is not None
    assert (replica.state, replica.attempts) == (ReplicaState.WANTED, 3)
    assert "MiB of storage left" in (replica.reason or "")


async def test_the_room_of_a_copy_is_charged_with_its_beginning(
    there: World, alpha: FakeDriver, imagery: Imagery
) -> None:
    image = await imagery.ready()
    before = await there.host()
    await imagery.prefetch(image)
    alpha.fail("create_replica", HostUnreachable("gone"))
    with pytest.raises(HostUnreachable):
        await imagery.replicate(image)
    during = await there.host()
    assert before.limit_storage_mb - during.limit_storage_mb == image.size_mb
    await there.look()
    assert (await there.host()).limit_storage_mb == during.limit_storage_mb
    await imagery.replicate(image)
    await there.look()
    after = await there.host()
    assert before.limit_storage_mb - after.limit_storage_mb in (image.size_mb, image.size_mb - 1)
    assert replica_volume(image.digest or "") not in after.observed_images


async def test_i1_a_copy_is_charged_whole_until_its_pool_counts_it(
    there: World, alpha: FakeDriver, imagery: Imagery
) -> None:
    """Its file is as large as it will be from the beginning, and the pool counts what is in it."""
    image = await imagery.ready()
    before, name = await there.host(), replica_volume(image.digest or "")
    await imagery.prefetch(image)
    alpha.host.copying.add(name)
    alpha.fail("write_volume", HostUnreachable("cut short"))
    with pytest.raises(HostUnreachable):
        await imagery.replicate(image)
    assert alpha.host.volumes[name].physical == image.size_bytes
    for _ in range(2):
        await there.look()
        charged = before.limit_storage_mb - (await there.host()).limit_storage_mb
        assert charged == image.size_mb

    alpha.host.copying.clear()
    assert await imagery.replicate(image) is None
    await there.look()
    charged = before.limit_storage_mb - (await there.host()).limit_storage_mb
    assert charged in (image.size_mb, image.size_mb - 1)


async def test_i1_a_copy_that_began_and_ended_during_a_look_stays_charged(
    there: World, alpha: FakeDriver, imagery: Imagery
) -> None:
    """The listing may have been made before the copy was there."""
    image = await imagery.ready()
    before, listing = await there.host(), alpha.inventory
    await imagery.prefetch(image)

    async def slow() -> Inventory:
        listed = await listing()
        await imagery.replicate(image)
        return listed

    alpha.inventory = slow  # type: ignore[method-assign]
    await there.look()
    assert before.limit_storage_mb - (await there.host()).limit_storage_mb == image.size_mb


async def test_a_host_that_is_down_is_waited_for(
    there: World, alpha: FakeDriver, imagery: Imagery
) -> None:
    image = await imagery.ready()
    await imagery.prefetch(image)
    host = await there.host()
    await there.store.submit(
        lambda tx: tx.hosts.observe(host.id, at=there.clock.now(), health=HostHealth.DOWN)
    )
    assert await imagery.replicate(image) == HOST_AGAIN_SECONDS
    assert alpha.calls["create_replica"] == 0


async def test_a_simulated_host_gets_a_volume_of_the_images_shape(
    there: World, imagery: Imagery
) -> None:
    driver = await there.add_seen_host("alpha", streams=False)
    image = await imagery.ready()
    await imagery.prefetch(image)
    assert await imagery.replicate(image) is None
    assert await imagery.state(image) is READY
    volume = driver.host.volumes[replica_volume(image.digest or "")]
    assert (volume.format, volume.capacity) == ("qcow2", image.virtual_bytes)
    assert driver.calls["write_volume"] == 0


async def test_evicting_removes_and_proves_it(
    there: World, alpha: FakeDriver, imagery: Imagery
) -> None:
    image = await imagery.ready()
    await imagery.prefetch(image)
    await imagery.replicate(image)
    await there.services.images.evict(image.id, "alpha", Intent(actor=ME))
    alpha.fail("delete_volume", HostRefused("busy"))
    pause = await imagery.replicate(image)
    assert pause is not None
    there.clock.advance(pause)
    assert await imagery.replicate(image) is None
    assert await imagery.replica(image) is None
    assert imagery.held(alpha, image) is None
    assert await there.volumes(image.id) == ()


async def test_what_was_only_wished_for_needs_no_host_to_go(
    there: World, alpha: FakeDriver, imagery: Imagery
) -> None:
    image = await imagery.ready()
    await imagery.prefetch(image)
    host = await there.host()
    with pytest.raises(Conflict, match="1 volumes"):
        await there.services.hosts.remove("alpha", INTENT)
    await there.store.submit(
        lambda tx: tx.hosts.observe(host.id, at=there.clock.now(), health=HostHealth.DOWN)
    )
    await there.services.images.evict(image.id, "alpha", Intent(actor=ME))
    assert await imagery.replicate(image) is None
    assert await imagery.replica(image) is None
    assert alpha.calls["delete_volume"] == 0
    assert imagery.held(alpha, image) is None
    await there.services.hosts.remove("alpha", INTENT)


async def test_a_large_image_goes_in_parts_and_turns(
    there: World, alpha: FakeDriver, imagery: Imagery
) -> None:
    body = content(16) + b"\0" * (2 * PART_BYTES)
    image = await imagery.ready("large", body)
    await imagery.prefetch(image)
    assert await imagery.replicate(image) is None
    assert alpha.calls["write_volume"] == 3
    assert alpha.calls["read_volume"] >= 3
    assert imagery.held(alpha, image) == body


async def test_a_pool_that_was_changed_keeps_its_replica_and_says_so(
    there: World, alpha: FakeDriver, imagery: Imagery
) -> None:
    image = await imagery.ready()
    await imagery.prefetch(image)
    replica = await imagery.replica(image)
    assert replica is not None
    host = await there.host()

    def repool(tx: Transaction) -> None:
        wanted = replace(host, pool="other")
        tx.hosts.replace(wanted, expected_generation=host.generation)

    await there.store.submit(repool)
    assert await imagery.replicate(image) is not None
    replica = await imagery.replica(image)
    assert replica is not None
    assert "whose pool is other now" in (replica.reason or "")


async def test_what_lies_in_a_pool_that_is_not_the_hosts_any_more_is_not_held(
    there: World, alpha: FakeDriver, imagery: Imagery
) -> None:
    await there.add_seen_host("beta")
    image = await imagery.ready()
    await imagery.prefetch(image, "alpha", "beta")
    for host in ("alpha", "beta"):
        assert await imagery.replicate(image, host) is None
    before = await there.host()
    repooled = replace(before, pool="other")
    await there.store.submit(
        lambda tx: tx.hosts.replace(repooled, expected_generation=before.generation)
    )
    await there.fleet.load()
    made = await there.create(base_image=image.name)
    assert made.host_name == "beta"
    await there.fleet.reread_image(image.id)
    assert (await there.create(base_image=image.name)).host_name == "beta"

    pinned = await there.create(base_image=image.name, host="alpha")
    await there.settle(pinned.id)
    failed = await there.sandbox(pinned.id)
    assert failed.state is SandboxState.ERROR
    assert "is in pool default of alpha, whose pool is other now" in (failed.reason_message or "")
