"""A sandbox's wish to move, and its move, as they are stored and told."""

from __future__ import annotations

from scheduler.lifecycle.moving import unwished, wish_of
from scheduler.model import SandboxState
from scheduler.store import Store
from tests.clocks import START
from tests.store.samples import later, sandbox

WISHED = sandbox(
    host_id="HST-1",
    state=SandboxState.STOPPED,
    move_asked_at=START,
    move_to="beta",
    move_reason="new disks",
    move_drain_id="DRN-1",
)


async def test_a_wish_is_kept_and_is_work_to_be_done(store: Store) -> None:
    resting = sandbox("SBX-2", state=SandboxState.RUNNING)
    await store.submit(lambda tx: [tx.sandboxes.add(WISHED), tx.sandboxes.add(resting)])
    assert await store.read(lambda tx: tx.sandboxes.get(WISHED.id)) == WISHED
    assert await store.read(lambda tx: tx.sandboxes.unsettled()) == (WISHED,)


async def test_one_that_moves_is_told_as_moved_and_as_what_it_became(store: Store) -> None:
    await store.submit(lambda tx: tx.sandboxes.add(WISHED))
    after = await store.submit(
        lambda tx: tx.sandboxes.transition(
            WISHED.id,
            SandboxState.STOPPED,
            SandboxState.CREATED,
            at=later(3),
            reason_code="moved",
            host_id="HST-2",
            base_image="box-move",
            moved_at=later(3),
            **wish_of(unwished(WISHED)),
        )
    )
    assert (after.moved_at, after.move_asked_at, after.base_image) == (later(3), None, "box-move")
    assert after.revision == WISHED.revision + 1
    told = await store.read(lambda tx: tx.events.find())
    assert [one.kind for one in told] == ["sandbox.state", "sandbox.moved"]
    assert [one.evidence["to"] for one in told] == ["CREATED", "HST-2"]


async def test_a_tombstone_wishes_nothing(store: Store) -> None:
    await store.submit(lambda tx: tx.sandboxes.add(WISHED))
    buried = await store.submit(lambda tx: tx.sandboxes.bury(WISHED.id, at=later(3)))
    assert wish_of(buried) == wish_of(unwished(WISHED))
