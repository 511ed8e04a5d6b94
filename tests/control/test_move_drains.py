"""Hosts that are drained by moving, and what else goes by a sandbox's move."""

from __future__ import annotations

import pytest

from scheduler import ids
from scheduler.control.clones import origin_of
from scheduler.control.drainer import Drainer
from scheduler.errors import (
    GuestUnreachable,
    NotFound,
)
from scheduler.lifecycle.drains import Verb
from scheduler.model import (
    AllocationState,
    ChangeDiff,
    ChangeSet,
    Diff,
    DrainPolicy,
    DrainState,
    HostState,
    SandboxState,
)
from scheduler.service.drains import DrainStatus
from scheduler.service.intents import Intent
from scheduler.service.requests import DrainHost
from tests.control.imagery import content
from tests.control.moving import CROWD, Moving, disk_of, driver_on
from tests.control.world import ME

DRAINS: Intent[DrainStatus] = Intent(actor=ME)
RELEASING = AllocationState.RELEASING


async def drain(pair: Moving) -> tuple[Drainer, list[str]]:
    """Begin to drain alpha by moving, and return who does it and whom they wake."""
    woken: list[str] = []

    async def changed(_host_id: str) -> None:
        return None

    request = DrainHost(policy=DrainPolicy.MOVE, deadline_seconds=None, reason="new fan")
    await pair.world.services.drains.drain("alpha", request, DRAINS)
    world = pair.world
    return (
        Drainer(
            world.store, world.clock, wake_sandbox=woken.append, changed=changed, count=woken.append
        ),
        woken,
    )


async def test_a_drain_moves_two_at_a_time_to_its_proven_end(pair: Moving) -> None:
    boxes = [await pair.world.created(host="alpha") for _ in range(3)]
    alpha = await driver_on(pair.world, "alpha")
    for number, one in enumerate(boxes):
        alpha.host.contents[disk_of(one)] = bytearray(content(16 + number))
    drainer, woken = await drain(pair)
    await drainer.drain()
    assert woken == [boxes[0].id, boxes[1].id]
    asked = await pair.world.sandbox(boxes[0].id)
    assert asked.move_reason == "host alpha is being drained: new fan"
    assert (await pair.world.sandbox(boxes[2].id)).move_asked_at is None
    plan = (await pair.world.services.drains.status("alpha")).plan
    assert [a.verb for a in plan.actions] == [Verb.MOVE, Verb.MOVE, Verb.WAIT]
    assert (plan.eta, plan.blockers) == (None, ())
    for one in boxes:
        await pair.go_on(one)
        await pair.clear(one)
        await drainer.drain()
    moved = [await pair.world.sandbox(one.id) for one in boxes]
    assert {(one.state, one.host_name) for one in moved} == {(SandboxState.RUNNING, "beta")}
    status = await pair.world.services.drains.status("alpha")
    assert (status.drain.state, status.host.state) == (DrainState.FINISHED, HostState.DRAINED)
    assert await pair.left_on("alpha") == []
    await pair.world.assert_ledger()


async def test_a_drain_that_is_called_off_takes_its_own_wishes_back(pair: Moving) -> None:
    mine, owners = [await pair.world.created(host="alpha") for _ in range(2)]
    await pair.asked(owners)
    drainer, _ = await drain(pair)
    await drainer.drain()
    assert (await pair.world.sandbox(mine.id)).move_asked_at is not None
    await pair.world.services.drains.abort("alpha", "never mind", DRAINS)
    assert (await pair.world.sandbox(mine.id)).move_asked_at is None
    assert (await pair.world.sandbox(owners.id)).move_asked_at is not None
    (told,) = await pair.world.events(kind="sandbox.move_cancelled")
    assert told.sandbox_id == mine.id
    await pair.world.settle(mine.id)
    assert (await pair.world.sandbox(mine.id)).state is SandboxState.RUNNING


async def test_a_disk_whose_authority_was_retired_moves_all_the_same(
    pair: Moving, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await pair.stood()

    def gone(_sandbox: object) -> None:
        raise GuestUnreachable("no such authority")

    monkeypatch.setattr(pair.world.guests, "access_of", gone)
    after = await pair.moved(before)
    assert (after.state, after.host_name) == (SandboxState.RUNNING, "beta")
    with pytest.raises(GuestUnreachable):
        await pair.world.settle((await pair.world.create()).id)


async def test_code_of_before_a_move_is_verified_on_no_disk_of_after_it(pair: Moving) -> None:
    before = await pair.stood()
    after = await pair.moved(before)
    for at, refused in ((before.created_at, True), (after.updated_at, False)):
        diff = Diff(
            id=ids.new_id(ids.Prefix.DIFF),
            sandbox_id=before.id,
            from_snapshot="SNP-1",
            to_snapshot=f"SNP-{refused}",
            diff_json=ChangeDiff(),
            created_at=at,
        )
        change_set = ChangeSet(
            id=ids.new_id(ids.Prefix.CHANGE_SET),
            job_id=before.job_id,
            sandbox_id=before.id,
            diff_id=diff.id,
            path_ansible="a",
            path_puppet="p",
            created_at=at,
        )
        await pair.world.store.submit(lambda tx, diff=diff: tx.diffs.add(diff))  # type: ignore[misc]
        if refused:
            with pytest.raises(NotFound, match="went with its move"):
                await pair.world.store.read(lambda tx, of=change_set: origin_of(of, tx))  # type: ignore[misc]
        else:
            found, _ = await pair.world.store.read(lambda tx, of=change_set: origin_of(of, tx))  # type: ignore[misc]
            assert found.id == before.id


@pytest.mark.parametrize("state", [SandboxState.RUNNING, SandboxState.STOPPED])
async def test_two_at_a_time_leave_also_when_all_have_waited_for_room(
    pair: Moving, state: SandboxState
) -> None:
    up = state is SandboxState.RUNNING
    boxes = [await pair.world.created(state, host="alpha", auto_start=up) for _ in range(4)]
    alpha = await driver_on(pair.world, "alpha")
    for number, one in enumerate(boxes):
        alpha.host.contents[disk_of(one)] = bytearray(content(16 + number))
    full = await pair.world.created(host="beta", vcpus=CROWD)
    drainer, _ = await drain(pair)
    for _ in range(4):
        await drainer.drain()
        for one in boxes:
            await pair.world.converger.converge(one.id)
    found = [await pair.world.sandbox(one.id) for one in boxes]
    assert all(one.move_asked_at is not None for one in found)
    await pair.world.services.sandboxes.destroy(full.id, Intent(actor=ME))
    await pair.world.settle(full.id)
    await pair.clear(full, "beta")
    for _ in range(3):
        pair.world.clock.advance(300)
        await pair.world.look("alpha")
        await pair.world.look("beta")
        for one in boxes:
            await pair.world.converger.converge(one.id)
    found = [await pair.world.sandbox(one.id) for one in boxes]
    assert sum(one.state is SandboxState.STOPPED for one in found) == (2 if up else 4)
    assert len(await pair.images()) == 2
    plan = (await pair.world.services.drains.status("alpha")).plan
    assert any("waits for its turn" in blocker for blocker in plan.blockers)
    for _ in range(4):
        for one in boxes:
            await pair.go_on(one)
            await pair.clear(one)
            await drainer.drain()
        pair.world.clock.advance(300)
    assert {(await pair.world.sandbox(one.id)).host_name for one in boxes} == {"beta"}


async def test_what_its_owner_asks_for_as_well_goes_on_without_the_drain(pair: Moving) -> None:
    ours, theirs = [await pair.world.created(host="alpha") for _ in range(2)]
    drainer, _ = await drain(pair)
    await drainer.drain()
    before = await pair.world.sandbox(ours.id)
    asked = await pair.asked(ours)
    assert (asked.move_asked_at, asked.move_drain_id) == (before.move_asked_at, None)
    await pair.world.services.drains.abort("alpha", "no", DRAINS)
    assert (await pair.world.sandbox(ours.id)).move_asked_at == before.move_asked_at
    assert (await pair.world.sandbox(theirs.id)).move_asked_at is None
