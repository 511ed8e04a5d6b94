"""Snapshots from wish to host and back, on a machine in memory that keeps what guests write."""

from __future__ import annotations

from itertools import permutations

import pytest

from scheduler.errors import (
    AlreadyExists,
    CapacityExhausted,
    Conflict,
    ConstraintImpossible,
    NotFound,
    QuotaExceeded,
)
from scheduler.model import SandboxState, Snapshot, SnapshotState, VolumeRole
from scheduler.service.intents import Intent
from scheduler.service.requests import CreateSnapshot
from tests.control.snapshots import KINDS, Bench
from tests.control.world import ME, World

ORDERS = [*permutations(range(5))]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_snapshot_is_gone_back_to(box: Bench, kind: str) -> None:
    box.write(1, "old")
    box.driver.host.disks.counters[box.uuid] = 7
    made = await box.make("clean", kind)
    assert (made.state, made.current, made.parent) == (SnapshotState.READY, True, None)
    assert made.memory is (kind == "INTERNAL")
    assert made.claim_mb == (1536 if kind == "INTERNAL" else 1024)
    box.write(1, "new")
    box.write(2, "more")
    box.driver.host.disks.counters[box.uuid] = 8
    await box.check()
    before = await box.sandbox()
    back = await box.revert("clean")
    assert back.state is SnapshotState.READY
    after = await box.sandbox()
    assert (after.state, before.state) == (SandboxState.RUNNING, SandboxState.RUNNING)
    assert box.read() == {1: "old"}
    if kind == "INTERNAL":
        assert box.driver.host.disks.counters[box.uuid] == 7
    await box.check()
    states = [e.evidence["to"] for e in await box.world.events(kind="sandbox.state")]
    assert states[-2:] == ["STARTING", "RUNNING"]
    await box.delete("clean")
    assert await box.all() == ()
    await box.check()
    assert box.driver.host.disks.snapshots.get(box.uuid, {}) == {}


@pytest.mark.parametrize("order", ORDERS[::23], ids=str)
async def test_five_deep_deleted_in_some_orders(box: Bench, order: tuple[int, ...]) -> None:
    """Whatever is deleted, what the others were and what the guest reads stays the same."""
    await _five(box)
    was = {one.name: box.read(one.ref) for one in await box.all()}
    guest = box.read()
    for number in order:
        await box.delete(f"s{number}")
        del was[f"s{number}"]
        assert {one.name: box.read(one.ref) for one in await box.all()} == was
        assert box.read() == guest
        await box.check()
    volumes = await box.world.volumes(box.sandbox_id)
    assert len([one for one in volumes if one.role is not VolumeRole.SEED]) == 1


async def test_branches_share_what_is_below_them(box: Bench) -> None:
    await _five(box)
    await box.revert("s1")
    box.write(9, "branch")
    await box.make("b1")
    await box.check()
    await box.revert("s3")
    await box.check()
    was = {one.name: box.read(one.ref) for one in await box.all()}
    assert was["b1"] == {0: "0", 1: "1", 9: "branch"}
    for name in ("s1", "s2", "b1", "s0", "s4", "s3"):
        await box.delete(name)
        del was[name]
        assert {one.name: box.read(one.ref) for one in await box.all()} == was
    assert box.read() == {n: str(n) for n in range(4)}
    await box.check()


async def test_a_sandbox_that_is_off_keeps_being_off(box: Bench) -> None:
    await box.world.services.sandboxes.stop(box.sandbox_id, Intent(actor=ME))
    await box.world.settle(box.sandbox_id)
    for name in ("a", "b", "c"):
        made = await box.make(name)
        assert (made.state, made.memory) == (SnapshotState.READY, False)
        box.write(ord(name), name)
    await box.check()
    await box.delete("b")
    await box.delete("a")
    assert (await box.sandbox()).state is SandboxState.STOPPED
    assert not box.driver.host.domains[box.uuid].active
    await box.check()
    await box.revert("c")
    assert (await box.sandbox()).state is SandboxState.STOPPED
    assert box.read() == {97: "a", 98: "b"}
    await box.check()
    await box.world.services.sandboxes.start(box.sandbox_id, Intent(actor=ME))
    await box.world.settle(box.sandbox_id)
    assert (await box.sandbox()).state is SandboxState.RUNNING


async def test_memory_runs_again_whatever_was_wished_since(box: Bench) -> None:
    await box.make("on", "INTERNAL")
    await box.world.services.sandboxes.stop(box.sandbox_id, Intent(actor=ME))
    await box.world.settle(box.sandbox_id)
    await box.make("off", "INTERNAL")
    assert not (await box.get("off")).memory
    assert (await box.get("off")).parent == (await box.get("on")).id
    await box.revert("on")
    assert (await box.sandbox()).state is SandboxState.RUNNING
    await box.revert("off")
    assert (await box.sandbox()).state is SandboxState.RUNNING
    await box.delete("on")
    assert (await box.get("off")).parent is None
    await box.check()


async def test_everything_goes_with_the_sandbox(box: Bench) -> None:
    await _five(box)
    await box.ask("never")
    await box.world.services.sandboxes.destroy(box.sandbox_id, Intent(actor=ME))
    await box.world.settle(box.sandbox_id)
    assert (await box.sandbox()).state is SandboxState.DESTROYED
    assert await box.all() == ()
    assert set(box.driver.host.volumes) == {"golden.qcow2"}
    host = await box.world.host()
    assert (host.reserved_storage_mb, host.reserved_sandboxes) == (0, 0)


async def test_i1_no_oversell_by_snapshots(box: Bench) -> None:
    host = await box.world.host()
    left = host.free.storage_mb
    await box.world.create(storage_mb=left - 1500)
    await box.make("fits")
    with pytest.raises(CapacityExhausted, match=r"476 MiB of storage left, .* may take 1024") as no:
        await box.ask("does-not")
    assert no.value.details["need"] == 1024
    assert [one.name for one in await box.all()] == ["fits"]
    await box.check()
    back = await box.revert("fits")
    assert back.state is SnapshotState.READY
    await box.check()


async def test_what_is_refused_at_once(box: Bench) -> None:
    await box.make("one")
    for error, name, kind in (
        (AlreadyExists, "one", "EXTERNAL"),
        (Conflict, "two", "INTERNAL"),
    ):
        with pytest.raises(error):
            await box.ask(name, kind)
    for number in range(7):
        await box.make(f"more-{number}")
    with pytest.raises(QuotaExceeded, match="as many snapshots as it may have: 8"):
        await box.ask("nine")
    await box.world.services.snapshots.remove(box.sandbox_id, "one", Intent(actor=ME))
    with pytest.raises(Conflict, match="one thing happens at a time"):
        await box.world.services.snapshots.revert(box.sandbox_id, "more-1", Intent(actor=ME))
    again = await box.world.services.snapshots.remove(box.sandbox_id, "one", Intent(actor=ME))
    assert again.state is SnapshotState.DELETING
    await box.world.settle(box.sandbox_id)
    with pytest.raises(NotFound):
        await box.get("one")
    await box.check()


async def test_only_one_that_rests_is_snapped(empty: World) -> None:
    await empty.add_seen_host()
    sandbox = await empty.create()
    request = CreateSnapshot(name="early")
    with pytest.raises(Conflict, match="no snapshot is made"):
        await empty.services.snapshots.create(sandbox.id, request, Intent(actor=ME))


async def test_a_host_that_can_not_is_told_from_one_that_has_no_room(box: Bench) -> None:
    host = await box.world.host()
    await box.world.store.submit(
        lambda tx: tx.hosts.observe(host.id, at=box.world.clock.now(), libvirt_version="5.10.0")
    )
    with pytest.raises(ConstraintImpossible, match=r"its libvirt is 5\.10\.0"):
        await box.ask("frozen")
    assert (await box.make("kept", "INTERNAL")).state is SnapshotState.READY


@pytest.mark.parametrize("kind", KINDS)
async def test_a_dry_run_changes_nothing(box: Bench, kind: str) -> None:
    service = box.world.services.snapshots
    request = CreateSnapshot.model_validate({"name": "maybe", "kind": kind})
    told = await service.preview("create", box.sandbox_id, request)
    assert told.state is SnapshotState.CREATING
    assert await box.all() == ()
    await box.make("maybe", kind)
    assert (await service.preview("revert", box.sandbox_id, "maybe")).name == "maybe"
    assert (await service.preview("delete", box.sandbox_id, "maybe")).name == "maybe"
    await box.check()


async def test_a_manifest_is_taken_once_and_its_absence_is_no_failure(box: Bench) -> None:
    without = await box.make("without", manifest=True)
    assert (without.state, without.manifest_ref) == (SnapshotState.READY, None)
    assert "does not answer" in (without.meta_json or "")
    box.world.manifests.next[box.sandbox_id] = "abc"
    assert (await box.make("with", manifest=True)).manifest_ref == "abc"
    assert (await box.make("unasked")).manifest_ref is None


async def _five(box: Bench) -> list[Snapshot]:
    made = []
    for number in range(5):
        box.write(number, str(number))
        made.append(await box.make(f"s{number}"))
    return made
