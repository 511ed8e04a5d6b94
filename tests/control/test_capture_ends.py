"""Ends that come again: of the same bytes, after a clock was set, beside what former ones left."""

from __future__ import annotations

from functools import partial

import pytest

from scheduler.control.clock_guard import ClockGuard
from scheduler.errors import Conflict, HostTimeout
from scheduler.lifecycle.captures import ended_at
from scheduler.model import ImageState, SandboxState, VolumeRole
from scheduler.service.intents import Intent
from tests.control.endings import RETENTION_SECONDS, TTL, expire, expired, go_on, images, taking_in
from tests.control.imagery import Imagery, content
from tests.control.world import ME, World
from tests.hosts.fake import FakeDriver


async def test_a_disk_that_is_an_image_already_ends_with_that_one(
    there: World, driver: FakeDriver
) -> None:
    """Extended while it was taken in, never started again, and ended again: the same bytes."""
    ended = await expired(there, driver, name="box")
    first = await taking_in(there, ended)
    await there.services.sandboxes.extend(ended.id, TTL, Intent(actor=ME))
    await Imagery(there).ingestor.ingest(first.id)
    there.clock.advance(RETENTION_SECONDS)
    assert ended_at(await expire(there, ended)) not in (None, ended_at(ended))
    gone = await go_on(there, ended, turns=12)
    assert (gone.state, gone.reason_code) == (SandboxState.DESTROYED, "imaged")
    assert (gone.reason_message or "").endswith(first.name)
    states = {one.name: one.state for one in await images(there)}
    assert states.pop(first.name) is ImageState.READY
    assert [*states.values()] == [ImageState.REFUSED]
    assert list(driver.host.volumes) == ["golden.qcow2"]
    await there.assert_ledger()


async def test_an_image_that_is_being_removed_is_nobodys_end(
    there: World, driver: FakeDriver
) -> None:
    ended = await expired(there, driver, name="box")
    image = await taking_in(there, ended)
    assert await Imagery(there).ingestor.ingest(image.id) is None
    (ready,) = await images(there)
    await there.services.images.remove(ready.id, Intent(actor=ME))
    with pytest.raises(Conflict, match="being removed"):
        await there.store.submit(
            partial(there.captures._finish, await there.sandbox(ended.id), ready)
        )
    gone = await go_on(there, ended, turns=12)
    assert gone.state is SandboxState.DESTROYED
    assert [one.state for one in await images(there)] == [ImageState.READY]


@pytest.mark.parametrize("seconds", [300.0, -300.0])
async def test_a_clock_that_is_set_makes_no_other_end(
    there: World, driver: FakeDriver, seconds: float
) -> None:
    guard = ClockGuard(there.store, there.clock)
    await guard.watch()
    ended = await expired(there, driver)
    await taking_in(there, ended)
    there.clock.set_wall(seconds)
    await guard.watch()
    gone = await go_on(there, ended)
    assert (gone.state, gone.reason_code) == (SandboxState.DESTROYED, "imaged")
    assert len(await images(there)) == 1
    assert driver.calls["flatten_volume"] == 1


@pytest.mark.parametrize("lost", [None, "ensure_pool", "delete_volume", "volumes_absent"])
async def test_what_was_copied_at_a_former_end_goes_before_the_next_copy(
    there: World, driver: FakeDriver, lost: str | None
) -> None:
    ended = await expired(there, driver)
    image = await taking_in(there, ended)
    (former,) = [v for v in await there.volumes(ended.id) if v.role is VolumeRole.DISK]
    await there.services.sandboxes.extend(ended.id, TTL, Intent(actor=ME))
    there.clock.advance(RETENTION_SECONDS)
    await expire(there, ended)
    there.clock.advance(1)
    await there.look()
    driver.host.contents[f"{ended.id.lower()}.qcow2"] = bytearray(content(17))
    await there.converger.converge(ended.id)
    assert former.name in driver.host.volumes, "it is being taken in"
    await Imagery(there).ingestor.ingest(image.id)
    if lost is not None:
        driver.time_out(lost)
        with pytest.raises(HostTimeout):
            await there.converger.converge(ended.id)
    await there.look()
    await there.converger.converge(ended.id)
    assert former not in await there.volumes(ended.id)
    assert former.name not in driver.host.volumes
    assert (await go_on(there, ended, turns=12)).state is SandboxState.DESTROYED
    await there.assert_ledger()
