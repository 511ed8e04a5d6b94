"""Moves that are cancelled, refused, overtaken by an end, or made once more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.errors import (
    HostRefused,
)
from scheduler.model import (
    AllocationState,
    DesiredState,
    DomainState,
    ImageState,
    SandboxState,
)
from scheduler.service.drains import DrainStatus
from scheduler.service.intents import Intent
from tests.control.imagery import content, digest_of
from tests.control.moving import CROWD, OWNER, Moving, disk_of, driver_on, failing
from tests.control.world import ME

DRAINS: Intent[DrainStatus] = Intent(actor=ME)
RELEASING = AllocationState.RELEASING


@pytest.mark.parametrize("state", [SandboxState.RUNNING, SandboxState.STOPPED])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
async def test_a_cancelled_move_leaves_it_where_and_as_it_was(
    pair: Moving, state: SandboxState, turns: int
) -> None:
    before = await pair.stood(state, auto_start=state is SandboxState.RUNNING)
    await pair.asked(before)
    full = await pair.world.created(host="beta", vcpus=CROWD)
    for _ in range(turns):
        await pair.turn(before)
    kept = await pair.world.services.sandboxes.cancel_move(before.id, OWNER)
    assert (kept.move_asked_at, failing(kept)) == (None, [])
    after = await pair.go_on(before)
    assert (after.state, after.host_name) == (state, "alpha")
    assert (after.image_digest, after.base_image) == (before.image_digest, before.base_image)
    await pair.world.settle(full.id)
    await pair.keep()
    assert await pair.images() == ()
    assert await pair.left_on("alpha") == [disk_of(before), f"{before.id.lower()}-seed.iso"]
    (told,) = await pair.world.events(kind="sandbox.move_cancelled")
    assert told.sandbox_id == before.id
    await pair.world.assert_ledger()


async def test_a_copy_of_a_move_that_was_cancelled_meanwhile_is_nobodys(pair: Moving) -> None:
    before = await pair.stood()
    alpha = await driver_on(pair.world, "alpha")
    flatten = alpha.flatten_volume

    async def cancelled(source: str, name: str) -> None:
        await flatten(source, name)
        await pair.world.services.sandboxes.cancel_move(before.id, OWNER)

    alpha.flatten_volume = cancelled  # type: ignore[method-assign]
    await pair.asked(before)
    after = await pair.go_on(before)
    assert (after.state, after.host_name) == (SandboxState.RUNNING, "alpha")
    await pair.keep()
    assert await pair.images() == ()
    assert len(await pair.left_on("alpha")) == 2


async def test_a_disk_that_is_written_to_meanwhile_is_copied_again(pair: Moving) -> None:
    before = await pair.stood()
    alpha = await driver_on(pair.world, "alpha")
    flatten, times = alpha.flatten_volume, []

    async def written(source: str, name: str) -> None:
        await flatten(source, name)
        times.append(source)
        if len(times) == 1:
            disk = alpha.host.volumes[source]
            alpha.host.volumes[source] = replace(disk, physical=disk.physical + 4096)

    alpha.flatten_volume = written  # type: ignore[method-assign]
    await pair.asked(before)
    for _ in range(4):
        await pair.turn(before)
    await pair.later(300)
    after = await pair.go_on(before)
    assert (after.host_name, len(times)) == ("beta", 2)


async def test_a_domain_that_somebody_starts_is_not_copied(pair: Moving) -> None:
    before = await pair.stood(SandboxState.STOPPED, auto_start=False)
    alpha = await driver_on(pair.world, "alpha")
    flatten = alpha.flatten_volume

    async def started(source: str, name: str) -> None:
        await flatten(source, name)
        alpha.host.domains[before.domain_uuid or ""].state = DomainState.RUNNING

    alpha.flatten_volume = started  # type: ignore[method-assign]
    await pair.asked(before)
    await pair.turn(before)
    refused = [one for one in await pair.images() if one.state is ImageState.REFUSED]
    assert "not off" in (refused[0].reason or "")
    alpha.flatten_volume = flatten  # type: ignore[method-assign]
    await pair.later(300)
    after = await pair.go_on(before)
    assert (after.state, after.host_name) == (SandboxState.STOPPED, "beta")


async def test_a_refused_image_is_made_anew_and_its_reason_told(pair: Moving) -> None:
    before = await pair.stood()
    alpha = await driver_on(pair.world, "alpha")
    flatten = alpha.flatten_volume

    async def torn(source: str, name: str) -> None:
        await flatten(source, name)
        del alpha.host.contents[name][100_000:]

    alpha.flatten_volume = torn  # type: ignore[method-assign]
    await pair.asked(before)
    for _ in range(5):
        await pair.turn(before)
    waiting = await pair.world.sandbox(before.id)
    assert (waiting.state, waiting.host_name) == (SandboxState.STOPPED, "alpha")
    assert "was refused as an image" in failing(waiting)[0]
    alpha.flatten_volume = flatten  # type: ignore[method-assign]
    await pair.later(300)
    after = await pair.go_on(before)
    assert after.host_name == "beta"
    await pair.keep()
    assert [one.name for one in await pair.images()] == [after.base_image]


async def test_the_room_of_the_copy_is_asked_for_first(pair: Moving) -> None:
    before = await pair.stood()
    alpha = await driver_on(pair.world, "alpha")
    alpha.host.full = True
    await pair.asked(before)
    for _ in range(4):
        await pair.turn(before)
    waiting = await pair.world.sandbox(before.id)
    assert "MiB of storage left" in failing(waiting)[0]
    assert alpha.calls["flatten_volume"] == 0
    alpha.host.full = False
    await pair.later(300)
    assert (await pair.go_on(before)).host_name == "beta"


async def test_moved_again_it_leaves_no_image_behind(pair: Moving) -> None:
    first = await pair.moved(await pair.stood())
    await pair.clear(first)
    beta = await driver_on(pair.world, "beta")
    beta.host.contents[disk_of(first)] = bytearray(content(17))
    await pair.later(60)
    second = await pair.moved(first)
    await pair.clear(second, "beta")
    assert (second.host_name, second.image_digest) == ("alpha", digest_of(content(17)))
    assert len(await pair.images()) == 2
    await pair.keep()
    (image,) = await pair.images()
    assert image.name == second.base_image
    assert await pair.left_on("beta") == []

    await pair.world.services.sandboxes.destroy(second.id, OWNER)
    await pair.world.settle(second.id)
    await pair.keep()
    assert await pair.images() == ()
    alpha = await driver_on(pair.world, "alpha")
    assert list(alpha.host.volumes) == ["golden.qcow2"]


async def test_a_disk_that_is_an_image_already_moves_by_that(pair: Moving) -> None:
    first = await pair.moved(await pair.stood())
    await pair.clear(first)
    beta = await driver_on(pair.world, "beta")
    beta.host.contents[disk_of(first)] = bytearray(content())
    await pair.later(60)
    second = await pair.moved(first)
    assert (second.host_name, second.image_digest) == ("alpha", first.image_digest)
    await pair.keep()
    (image,) = await pair.images()
    assert (image.name, image.usable) == (second.base_image, True)


async def test_an_image_that_others_were_made_of_stays(pair: Moving) -> None:
    first = await pair.moved(await pair.stood())
    other = await pair.world.create(base_image=first.base_image, host="alpha", storage_mb=32)
    await pair.go_on(other)
    await pair.clear(first)
    await pair.world.services.sandboxes.destroy(first.id, OWNER)
    await pair.world.settle(first.id)
    await pair.keep()
    assert [one.usable for one in await pair.images()] == [True]


@pytest.mark.parametrize("verb", ["define", "start"])
async def test_a_target_that_fails_it_has_it_tried_elsewhere(pair: Moving, verb: str) -> None:
    await pair.world.add_seen_host("gamma")
    before = await pair.stood(ttl_seconds=9000)
    (await driver_on(pair.world, "beta")).fail(verb, HostRefused("no such network"), times=99)
    await pair.asked(before)
    for _ in range(20):
        await pair.world.look("gamma")
        after = await pair.go_on(before, turns=2)
        if after.state is SandboxState.RUNNING and after.host_name != "alpha":
            break
    assert (after.state, after.host_name) == (SandboxState.RUNNING, "gamma")
    assert after.image_digest == digest_of(content())
    assert (after.expires_at, after.ssh_ca) == (before.expires_at, before.ssh_ca)
    await pair.world.assert_ledger()


async def test_a_pinned_target_that_fails_it_is_tried_again_by_its_owner(pair: Moving) -> None:
    before = await pair.stood()
    beta = await driver_on(pair.world, "beta")
    beta.fail("define", HostRefused("no such network"), times=99)
    await pair.asked(before, "beta")
    for _ in range(20):
        await pair.turn(before)
    failed = await pair.world.sandbox(before.id)
    assert (failed.state, failed.host_name) == (SandboxState.ERROR, "beta")
    beta.faults.clear()
    await pair.world.services.sandboxes.retry(before.id, OWNER)
    after = await pair.go_on(before)
    assert (after.state, after.host_name) == (SandboxState.RUNNING, "beta")
    (image,) = await pair.images()
    assert pair.imagery.held(beta, image) == content()


async def test_it_is_destroyed_wherever_the_wish_finds_it(pair: Moving) -> None:
    before = await pair.stood()
    await pair.asked(before)
    await pair.turn(before)
    await pair.world.services.sandboxes.destroy(before.id, OWNER)
    assert (await pair.world.sandbox(before.id)).move_asked_at is None
    await pair.world.settle(before.id)
    assert not (await pair.world.sandbox(before.id)).live
    await pair.keep()
    await pair.keep()
    assert await pair.images() == ()
    assert await pair.left_on("alpha") == []
    assert await pair.left_on("beta") == []
    await pair.world.assert_ledger()


async def test_destroyed_on_its_way_it_waits_for_what_it_left(pair: Moving) -> None:
    before = await pair.stood()
    await pair.asked(before)
    while (await pair.world.sandbox(before.id)).host_name == "alpha":
        await pair.turn(before)
    await pair.world.services.sandboxes.destroy(before.id, OWNER)
    await pair.world.settle(before.id)
    leaving = await pair.world.sandbox(before.id)
    assert leaving.live
    assert "failed to build" not in leaving.conditions[-1].message
    await pair.clear(before)
    await pair.world.settle(before.id)
    assert not (await pair.world.sandbox(before.id)).live
    await pair.world.assert_ledger()


async def test_one_that_fails_on_its_way_out_is_not_to_move_any_more(pair: Moving) -> None:
    before = await pair.stood()
    await pair.asked(before)
    del (await driver_on(pair.world, "alpha")).host.domains[before.domain_uuid or ""]
    for _ in range(3):
        await pair.turn(before)
    lost = await pair.world.sandbox(before.id)
    assert (lost.state, lost.reason_code, lost.move_asked_at) == (
        SandboxState.ERROR,
        "domain_lost",
        None,
    )


async def test_a_start_or_a_stop_meanwhile_is_what_comes_true_there(pair: Moving) -> None:
    before = await pair.stood()
    await pair.asked(before)
    await pair.turn(before)
    await pair.world.services.sandboxes.stop(before.id, OWNER)
    after = await pair.go_on(before)
    assert (after.state, after.desired_state) == (SandboxState.STOPPED, DesiredState.STOPPED)
    assert after.host_name == "beta"


async def test_its_image_may_be_removed_in_the_middle_and_is_made_anew(pair: Moving) -> None:
    before = await pair.stood()
    await pair.asked(before)
    while not any(image.usable for image in await pair.images()):
        await pair.turn(before)
    (image,) = await pair.images()
    await pair.world.services.images.remove(image.name, Intent(actor=ME))
    pause = await pair.world.converger.converge(before.id)
    assert pause, "its name is another's until that is gone"
    waiting = await pair.world.sandbox(before.id)
    assert (waiting.state, waiting.host_name) == (SandboxState.STOPPED, "alpha")
    assert any(f"named {image.name} is there still" in c.message for c in waiting.conditions)
    after = await pair.go_on(before)
    assert (after.state, after.host_name) == (SandboxState.RUNNING, "beta")
