"""What happens to a sandbox that moves when others, or bad luck, come between its steps."""

from __future__ import annotations

import pytest

from scheduler.errors import HostRefused
from scheduler.lifecycle.steps import ConditionKind
from scheduler.model import Condition, DomainState, ImageState, Sandbox, SandboxState
from scheduler.placement.demand import Demand
from tests.control.imagery import content, digest_of
from tests.control.moving import CROWD, OWNER, Moving, disk_of, driver_on, failing


async def shut_down(pair: Moving) -> int:
    """Return how often a guest of alpha was asked to shut down."""
    return (await driver_on(pair.world, "alpha")).calls["shutdown"]


async def off_without_room(pair: Moving) -> Sandbox:
    """Return one whose guest was shut down for a host that has no room by then."""
    before = await pair.stood()
    room = pair.world.relocator.room

    async def no_more(demand: Demand) -> str | None:
        off = (await pair.world.sandbox(before.id)).state is SandboxState.STOPPED
        return "no room" if off else await room(demand)

    pair.world.relocator.room = no_more  # type: ignore[method-assign]
    await pair.asked(before)
    for _ in range(12):
        await pair.turn(before)
    waiting = await pair.world.sandbox(before.id)
    assert (waiting.state, waiting.attempts > 1) == (SandboxState.STOPPED, True)
    pair.world.relocator.room = room  # type: ignore[method-assign]
    await pair.later(300)
    return waiting


async def copied_without_room(pair: Moving) -> tuple[Sandbox, Sandbox]:
    """Return one whose image is READY, and another that takes all the room there is."""
    before = await pair.stood()
    await pair.asked(before)
    while (await pair.world.sandbox(before.id)).state is not SandboxState.STOPPED:
        await pair.turn(before)
    full = await pair.world.created(host="beta", vcpus=CROWD)
    for _ in range(4):
        await pair.turn(before)
    assert [one.usable for one in await pair.images()] == [True]
    return before, full


async def test_no_guest_is_shut_down_for_a_note_that_was_cut_short(pair: Moving) -> None:
    before = await pair.stood()
    await pair.asked(before)
    await pair.world.created(host="beta", vcpus=CROWD)
    noted = pair.world.mover.refused

    async def killed(_sandbox_id: str, _error: HostRefused) -> Sandbox:
        raise RuntimeError("killed")

    pair.world.mover.refused = killed  # type: ignore[assignment,method-assign]
    with pytest.raises(RuntimeError):
        await pair.turn(before)
    pair.world.mover.refused = noted  # type: ignore[method-assign]
    for _ in range(4):
        await pair.turn(before)
    assert (await pair.world.sandbox(before.id)).state is SandboxState.RUNNING
    assert await shut_down(pair) == 0


async def test_no_guest_is_shut_down_for_a_stop_that_is_taken_back_at_once(pair: Moving) -> None:
    before = await pair.stood()
    await pair.asked(before)
    await pair.world.created(host="beta", vcpus=CROWD)
    for _ in range(2):
        await pair.turn(before)
    await pair.world.services.sandboxes.stop(before.id, OWNER)
    await pair.world.services.sandboxes.start(before.id, OWNER)
    for _ in range(4):
        await pair.turn(before)
    assert (await pair.world.sandbox(before.id)).state is SandboxState.RUNNING
    assert await shut_down(pair) == 0


async def test_what_is_over_is_not_told_while_it_waits_for_room(pair: Moving) -> None:
    before = await pair.stood()
    await pair.asked(before)
    await pair.world.created(host="beta", vcpus=CROWD)
    for _ in range(2):
        await pair.turn(before)
    waiting = await pair.world.sandbox(before.id)
    since = pair.world.clock.now()
    silent = Condition(kind=ConditionKind.HOST_UNREACHABLE, message="silent", since=since)
    await pair.world.change(before.id, conditions=(*waiting.conditions, silent))
    for _ in range(2):
        await pair.turn(before)
    kinds = [c.kind for c in (await pair.world.sandbox(before.id)).conditions]
    assert kinds == [ConditionKind.FAILING]


async def test_a_guest_that_somebody_had_run_is_copied_anew(pair: Moving) -> None:
    before, full = await copied_without_room(pair)
    alpha = await driver_on(pair.world, "alpha")
    alpha.host.domains[before.domain_uuid or ""].state = DomainState.RUNNING
    alpha.host.contents[disk_of(before)] = bytearray(content(18))
    for _ in range(4):
        await pair.turn(before)
    await pair.world.services.sandboxes.destroy(full.id, OWNER)
    await pair.world.settle(full.id)
    await pair.later(300)
    after = await pair.go_on(before)
    assert (after.host_name, after.image_digest) == ("beta", digest_of(content(18)))
    await pair.keep()
    assert [one.name for one in await pair.images()] == [after.base_image]


async def test_asked_for_again_within_a_second_its_disk_is_copied_anew(pair: Moving) -> None:
    before, full = await copied_without_room(pair)
    asked = (await pair.world.sandbox(before.id)).move_asked_at
    assert asked is not None
    await pair.world.services.sandboxes.cancel_move(before.id, OWNER)
    up = await pair.go_on(before)
    assert (up.state, up.host_name) == (SandboxState.RUNNING, "alpha")
    alpha = await driver_on(pair.world, "alpha")
    alpha.host.contents[disk_of(before)] = bytearray(content(18))
    await pair.world.services.sandboxes.destroy(full.id, OWNER)
    await pair.world.settle(full.id)
    pair.world.clock.set_wall((asked - pair.world.clock.now()).total_seconds())
    await pair.asked(before)
    after = await pair.go_on(before)
    assert (after.host_name, after.image_digest) == ("beta", digest_of(content(18)))


async def test_each_refused_copy_is_told_however_long_it_waited_for_room(pair: Moving) -> None:
    before = await off_without_room(pair)
    alpha = await driver_on(pair.world, "alpha")
    flatten = alpha.flatten_volume

    async def torn(source: str, name: str) -> None:
        await flatten(source, name)
        del alpha.host.contents[name][100_000:]

    alpha.flatten_volume = torn  # type: ignore[method-assign]
    for _ in range(6):
        await pair.turn(before)
    waiting = await pair.world.sandbox(before.id)
    refused = [one for one in await pair.images() if one.state is ImageState.REFUSED]
    assert waiting.attempts == len(refused)
    assert "was refused as an image" in failing(waiting)[0]


async def test_a_disk_that_is_being_copied_lacks_no_room(pair: Moving) -> None:
    before = await off_without_room(pair)
    assert "no other host takes" in failing(await pair.world.sandbox(before.id))[0]
    await pair.world.converger.converge(before.id)
    assert [one.state for one in await pair.images()] == [ImageState.FREEZING]
    assert failing(await pair.world.sandbox(before.id)) == []
