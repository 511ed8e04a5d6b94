"""A sandbox that ends as an image, on hosts in memory and with images that are really judged."""

from __future__ import annotations

import asyncio

import pytest

from scheduler.control.vitals import Stuck, find_stuck
from scheduler.control.workers import Workers
from scheduler.errors import HostRefused, HostTimeout, Invalid
from scheduler.model import (
    DesiredState,
    ImageState,
    Phase,
    SandboxState,
    VolumeRole,
    VolumeState,
)
from scheduler.service.intents import Intent
from scheduler.service.services import Services, Wakes
from scheduler.service.terms import Terms
from tests.clocks import ManualClock
from tests.control.endings import TTL, expire, expired, go_on, images
from tests.control.imagery import Imagery, content, digest_of
from tests.control.snapshots import Bench
from tests.control.world import CLUSTER, ME, World, wanted
from tests.hosts.fake import FakeDriver
from tests.hosts.fake_snapshots import Blocks


async def test_its_disk_is_an_image_before_it_is_destroyed(
    there: World, driver: FakeDriver
) -> None:
    ended = await expired(there, driver, name="box")
    assert ended.desired_state is DesiredState.STOPPED
    gone = await go_on(there, ended)
    assert (gone.state, gone.reason_code) == (SandboxState.DESTROYED, "imaged")
    (image,) = await images(there)
    assert image.state is ImageState.READY
    assert image.name.startswith("box-2")
    assert image.digest == digest_of(content())
    assert image.name in (gone.reason_message or "")
    assert list(driver.host.volumes) == ["golden.qcow2"]
    assert await there.volumes(ended.id) == ()
    await there.assert_ledger()
    told = [event.reason_code for event in await there.events(sandbox_id=ended.id)]
    assert told.index("imaged") < told.index("imaged", told.index("imaged") + 1)


@pytest.mark.parametrize(
    ("kind", "deleted"), [("EXTERNAL", False), ("EXTERNAL", True), ("INTERNAL", False)]
)
async def test_the_disk_that_is_kept_is_the_one_the_guest_wrote_to(
    there: World, driver: FakeDriver, kind: str, deleted: bool
) -> None:
    made = await there.created(ttl_seconds=TTL, on_expire="image")
    box = Bench(world=there, driver=driver, sandbox_id=made.id)
    box.write(1, "before")
    await box.make("clean", kind)
    box.write(2, "since")
    if deleted:
        await box.delete("clean")
    (live,) = driver.host.domains[box.uuid].disks
    first = f"{made.id.lower()}.qcow2"
    assert (live == first, first in driver.host.volumes) == (kind == "INTERNAL", not deleted)
    driver.host.contents[first] = bytearray(content())
    driver.host.contents[live] = bytearray(content(17))
    copied: list[tuple[str, Blocks]] = []
    flatten = driver.flatten_volume

    async def watched(source: str, name: str) -> None:
        await flatten(source, name)
        copied.append((source, box.read(name)))

    driver.flatten_volume = watched  # type: ignore[method-assign]
    gone = await go_on(there, await expire(there, made))
    assert copied == [(live, {1: "before", 2: "since"})]
    assert (gone.state, gone.reason_code) == (SandboxState.DESTROYED, "imaged")
    (image,) = await images(there)
    assert image.digest == digest_of(content(17))
    assert "golden.qcow2" in driver.host.volumes
    assert not [name for name in driver.host.volumes if name.startswith(made.id.lower())]
    await there.assert_ledger()


@pytest.mark.parametrize("again", ["started", "brought back"])
async def test_a_copy_is_not_kept_for_a_disk_that_changed_since(
    there: World, driver: FakeDriver, again: str
) -> None:
    made = await there.created(ttl_seconds=TTL, on_expire="image")
    box = Bench(world=there, driver=driver, sandbox_id=made.id)
    await box.make("clean", "INTERNAL")
    disk = f"{made.id.lower()}.qcow2"
    driver.host.contents[disk] = bytearray(content())
    ended = await expire(there, made)
    while not any(
        (one.role, one.state) == (VolumeRole.DISK, VolumeState.CREATED)
        for one in await there.volumes(made.id)
    ):
        await go_on(there, ended, turns=1)
    there.clock.advance(1)
    if again == "started":
        await there.services.sandboxes.start(made.id, Intent(actor=ME))
        await there.settle(made.id)
    else:
        await box.revert("clean")
    driver.host.contents[disk] = bytearray(content(17))
    await there.services.sandboxes.stop(made.id, Intent(actor=ME))
    gone = await go_on(there, ended)
    assert (gone.state, gone.reason_code) == (SandboxState.DESTROYED, "imaged")
    newest = max(await images(there), key=lambda one: one.id)
    assert (newest.state, newest.digest) == (ImageState.READY, digest_of(content(17)))
    assert newest.name in (gone.reason_message or "")
    assert list(driver.host.volumes) == ["golden.qcow2"]
    await there.assert_ledger()


async def test_without_a_disk_that_is_listed_nothing_is_kept_and_nothing_destroyed(
    there: World, driver: FakeDriver
) -> None:
    ended = await expired(there, driver)
    (disk,) = [v for v in await there.volumes(ended.id) if v.role is VolumeRole.OVERLAY]
    await there.store.submit(lambda tx: tx.volumes.remove(disk.host_id, disk.pool, disk.name))
    kept = await go_on(there, ended, turns=4)
    assert kept.state is SandboxState.STOPPED
    (reason,) = [c.message for c in kept.conditions if c.kind == "failing"]
    assert "no disk" in reason
    assert disk.name in driver.host.volumes
    assert driver.calls["flatten_volume"] == 0


async def test_a_volume_is_listed_and_charged_before_it_is_made(
    there: World, driver: FakeDriver
) -> None:
    ended = await expired(there, driver)
    free = (await there.host()).free.storage_mb
    driver.time_out("flatten_volume")
    with pytest.raises(HostTimeout):
        await go_on(there, ended)
    flat = next(v for v in await there.volumes(ended.id) if v.role is VolumeRole.DISK)
    assert flat.state is VolumeState.PLANNED
    assert flat.name in driver.host.volumes
    assert (await there.sandbox(ended.id)).phase is Phase.IMAGE
    await there.look()
    # It is there, and may be half of it: only the call's own answer makes it whole.
    assert flat in await there.volumes(ended.id)
    assert (await there.host()).free.storage_mb <= free - ended.storage_mb + 8
    assert (await go_on(there, ended)).state is SandboxState.DESTROYED
    assert driver.calls["flatten_volume"] == 2


async def test_i8_a_copy_that_takes_most_of_an_hour_is_no_daemon_that_hangs(
    there: World, driver: FakeDriver
) -> None:
    """It may be all that the loop of sandboxes has to do: the watchdog must be fed meanwhile."""
    ended = await expired(there, driver)
    gate = driver.gates["flatten_volume"] = asyncio.Event()
    workers = Workers("converge", there.converger.converge, clock=there.clock, report_bug=no_bug)
    running = asyncio.create_task(workers.run())

    async def copying() -> bool:
        await there.look()
        workers.wake(ended.id)
        return driver.calls["flatten_volume"] == 1

    await there.until(copying, what="the copy to begin")
    there.clock.advance(3000)
    assert stuck(workers, there.clock) == ()
    there.clock.advance(3000)
    (found,) = stuck(workers, there.clock)
    assert found.name == "converge"
    gate.set()
    workers.stop()
    await there.ended(running)


async def no_bug(key: str, evidence: str) -> None:
    raise AssertionError(f"{key}: {evidence}")


def stuck(workers: Workers, clock: ManualClock) -> tuple[Stuck, ...]:
    return find_stuck(workers.turns(), lag_seconds=0, now=clock.monotonic(), patience_seconds=60)


async def test_without_room_it_is_kept_and_tried_again(there: World, driver: FakeDriver) -> None:
    ended = await expired(there, driver)
    driver.host.full = True
    await there.look()
    kept = await go_on(there, ended, turns=4)
    assert kept.state is SandboxState.STOPPED
    (reason,) = [c.message for c in kept.conditions if c.kind == "failing"]
    assert "MiB of storage left" in reason
    assert driver.calls["flatten_volume"] == 0
    driver.host.full = False
    assert (await go_on(there, ended, turns=12)).state is SandboxState.DESTROYED


async def test_a_refused_image_keeps_the_sandbox_and_is_made_anew(
    there: World, driver: FakeDriver
) -> None:
    ended = await expired(there, driver)
    overlay = f"{ended.id.lower()}.qcow2"
    flatten = driver.flatten_volume

    async def torn(source: str, name: str) -> None:
        await flatten(source, name)
        del driver.host.contents[name][100_000:]

    driver.flatten_volume = torn  # type: ignore[method-assign]
    kept = await go_on(there, ended, turns=6)
    assert (kept.state, kept.desired_state) == (SandboxState.STOPPED, DesiredState.STOPPED)
    (reason,) = [c.message for c in kept.conditions if c.kind == "failing"]
    assert "was refused as an image" in reason
    assert kept.attempts >= 1
    refused = [one for one in await images(there) if one.state is ImageState.REFUSED]
    assert len(refused) - kept.attempts in (0, 1)
    (flat,) = [name for name in driver.host.volumes if name not in ("golden.qcow2", overlay)][-1:]
    driver.host.contents[flat] = bytearray(content())
    assert (await go_on(there, ended, turns=30)).state is SandboxState.DESTROYED


async def test_a_host_that_refuses_is_asked_again(there: World, driver: FakeDriver) -> None:
    ended = await expired(there, driver)
    driver.fail("flatten_volume", HostRefused("the pool is busy"), times=2)
    assert (await go_on(there, ended, turns=12)).state is SandboxState.DESTROYED
    assert driver.calls["flatten_volume"] == 3


async def test_its_owner_may_delete_it_anyway(there: World, driver: FakeDriver) -> None:
    ended = await expired(there, driver)
    driver.fail("flatten_volume", HostRefused("the pool is busy"), times=99)
    await go_on(there, ended, turns=4)
    await there.services.sandboxes.destroy(ended.id, Intent(actor=ME))
    assert (await go_on(there, ended, turns=4)).state is SandboxState.DESTROYED
    assert list(driver.host.volumes) == ["golden.qcow2"]


async def test_a_name_that_is_taken_is_left_to_its_image(there: World, driver: FakeDriver) -> None:
    first = await expired(there, driver, name="box")
    ended = next(c.since for c in first.conditions if c.kind == "expired")
    imagery = Imagery(there)
    await imagery.take(f"box-{ended:%Y%m%d-%H%M%S}", content(17))
    await go_on(there, first)
    names = {image.name for image in await images(there)}
    assert f"{first.id.lower()}-{ended:%Y%m%d-%H%M%S}" in names


async def test_a_daemon_that_keeps_no_images_refuses_such_an_end(there: World) -> None:
    services = Services.over(
        there.store,
        there.clock,
        terms=Terms(cluster_id=CLUSTER),
        fleet=there.fleet,
        journal=there.journal,
        wakes=Wakes(sandbox=print, host=print, drain=print, image=print),
    )
    ask = wanted(on_expire="image")
    with pytest.raises(Invalid, match="keeps no images"):
        await services.sandboxes.preview(ask)
    with pytest.raises(Invalid, match="keeps no images"):
        await services.sandboxes.create(ask, Intent(actor=ME))
