"""Snapshots from wish to host and back, on a machine in memory that keeps what guests write."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations

import pytest

from scheduler.errors import (
    AlreadyExists,
    CapacityExhausted,
    Conflict,
    ConstraintImpossible,
    HostRefused,
    HostUnreachable,
    NotFound,
    QuotaExceeded,
)
from scheduler.hosts import ObjectBusy
from scheduler.model import SandboxState, Snapshot, SnapshotState, VolumeRole, VolumeState
from scheduler.service.intents import Intent
from scheduler.service.requests import CreateSnapshot
from tests.control.snapshots import Bench, bench
from tests.control.world import ME, World

KINDS = ["INTERNAL", "EXTERNAL"]
ORDERS = [*permutations(range(5))]


@pytest.fixture
async def box(empty: World) -> Bench:
    return await bench(empty)


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


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_host_refuses_is_taken_back(box: Bench, kind: str) -> None:
    verb = "take_snapshot" if kind == "INTERNAL" else "freeze"
    box.driver.fail(verb, HostRefused("no space left on device"))
    failed = await box.make("full", kind)
    assert (failed.state, failed.claim_mb) == (SnapshotState.FAILED, 0)
    assert failed.reason == "no space left on device"
    sandbox = await box.sandbox()
    assert (sandbox.state, sandbox.conditions) == (SandboxState.RUNNING, ())
    await box.check()
    assert box.world.concluded == [("create", "failed")]
    told = [(e.kind, e.evidence["state"]) for e in (await box.world.events())[-2:]]
    assert told == [("snapshot.failing", "CREATING"), ("snapshot.failed", "FAILED")]
    with pytest.raises(Conflict, match="full is FAILED: no space left"):
        await box.revert("full")
    await box.delete("full")
    assert (await box.make("full", kind)).state is SnapshotState.READY
    await box.check()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_host_that_is_busy_refuses_nothing_and_is_asked_again(
    box: Bench, kind: str
) -> None:
    """As often as it takes: a copy of a disk keeps its host's pool busy for up to an hour."""
    make, back, remove = {
        "INTERNAL": ("take_snapshot", "revert_snapshot", "delete_snapshot"),
        "EXTERNAL": ("freeze", "volumes_absent", "merge"),
    }[kind]
    box.driver.fail(make, ObjectBusy("the pool has asynchronous jobs running"), times=9)
    assert (await box.make("clean", kind)).state is SnapshotState.READY
    box.driver.fail(back, ObjectBusy("the pool has asynchronous jobs running"), times=9)
    assert (await box.revert("clean")).state is SnapshotState.READY
    assert (await box.sandbox()).state is SandboxState.RUNNING
    box.driver.fail(remove, ObjectBusy("the pool has asynchronous jobs running"), times=9)
    await box.delete("clean")
    assert await box.all() == ()
    assert box.world.concluded == [(what, "done") for what in ("create", "revert", "delete")]
    await box.check()


@pytest.mark.parametrize(("verb", "times"), [("freeze", 1), ("restate", 1), ("restate", 3)])
async def test_one_that_was_frozen_after_all_is_kept(box: Bench, verb: str, times: int) -> None:
    no = HostRefused("it said no, and did it")
    box.driver.fail(verb, no, after=verb == "freeze", times=times)
    made = await box.make("odd")
    assert (made.state, made.reason) == (SnapshotState.READY, None)
    await box.check()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_revert_that_fails_leaves_an_error_and_the_snapshot(box: Bench, kind: str) -> None:
    await box.make("clean", kind)
    verb = "revert_snapshot" if kind == "INTERNAL" else "restate"
    box.driver.fail(verb, HostRefused("not today"), times=3)
    failed = await box.revert("clean")
    assert failed.state is SnapshotState.READY
    sandbox = await box.sandbox()
    assert (sandbox.state, sandbox.reason_code) == (SandboxState.ERROR, "revert_failed")
    assert "not today" in (sandbox.reason_message or "")
    await box.revert("clean")
    assert (await box.sandbox()).state is SandboxState.RUNNING
    await box.check()


REVERT_CALLS = ["power_off", "create_layer", "restate", "live_layer"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("verb", REVERT_CALLS)
async def test_after_a_revert_in_vain_nothing_stands_in_the_way(
    box: Bench, verb: str, after: bool
) -> None:
    """Another point can be gone back to, and the next snapshot freezes what the guest writes."""
    await _two_points(box)
    box.driver.fail(verb, HostRefused("not today"), after=after, times=3)
    await box.revert("s0")
    await box.world.assert_ledger()
    if (await box.sandbox()).state is SandboxState.ERROR:
        await box.world.services.sandboxes.retry(box.sandbox_id, Intent(actor=ME))
        await box.world.settle(box.sandbox_id)
    guest = box.read()
    made = await box.make("s2")
    assert (made.state, box.read(made.ref)) == (SnapshotState.READY, guest)
    box.write(3, "3")
    await box.revert("s1")
    assert (await box.sandbox()).state is SandboxState.RUNNING
    assert box.read() == {0: "0", 1: "1"}
    await box.revert("s2")
    assert box.read() == guest
    await box.check()


async def test_a_layer_that_a_host_does_not_let_go_waits_for_the_next_deletion(box: Bench) -> None:
    await _two_points(box)
    box.driver.fail("restate", HostRefused("not today"), times=3)
    box.driver.fail("delete_volume", HostRefused("it is in use"))
    await box.revert("s0")
    left = [v for v in await box.world.volumes(box.sandbox_id) if v.state is VolumeState.PLANNED]
    assert len(left) == 1
    await box.world.assert_ledger()
    await box.revert("s1")
    assert box.read() == {0: "0", 1: "1"}
    await box.check()


async def test_giving_up_that_is_refused_is_tried_again_after_a_while(box: Bench) -> None:
    await _two_points(box)
    box.driver.fail("power_off", HostRefused("not today"), times=3)
    box.driver.fail("live_layer", HostRefused("somebody took the mark away"), times=4)
    begun = box.world.clock.now()
    await box.revert("s0")
    assert (await box.sandbox()).reason_code == "revert_failed"
    assert box.world.clock.now() - begun > timedelta(seconds=10)
    await box.check()


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_left_of_a_failed_deletion_forbids_the_other_kind(
    box: Bench, kind: str
) -> None:
    await box.make("old", kind)
    verb = "delete_snapshot" if kind == "INTERNAL" else "merge"
    box.driver.fail(verb, HostRefused("the pool is full"), times=3)
    await box.delete("old")
    assert (await box.get("old")).state is SnapshotState.FAILED
    other = "EXTERNAL" if kind == "INTERNAL" else "INTERNAL"
    with pytest.raises(Conflict, match=f"has {kind} snapshots"):
        await box.ask("new", other)
    await box.delete("old")
    assert (await box.make("new", other)).state is SnapshotState.READY
    await box.check()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_deletion_that_fails_can_be_asked_for_again(box: Bench, kind: str) -> None:
    await box.make("old", kind)
    verb = "delete_snapshot" if kind == "INTERNAL" else "merge"
    box.driver.fail(verb, HostRefused("the pool is full"), times=3)
    await box.delete("old")
    failed = await box.get("old")
    assert (failed.state, failed.reason) == (SnapshotState.FAILED, "the pool is full")
    assert (await box.sandbox()).conditions == ()
    await box.delete("old")
    assert await box.all() == ()
    await box.check()


async def test_a_manifest_is_taken_once_and_its_absence_is_no_failure(box: Bench) -> None:
    without = await box.make("without", manifest=True)
    assert (without.state, without.manifest_ref) == (SnapshotState.READY, None)
    assert "does not answer" in (without.meta_json or "")
    box.world.manifests.next[box.sandbox_id] = "abc"
    assert (await box.make("with", manifest=True)).manifest_ref == "abc"
    assert (await box.make("unasked")).manifest_ref is None


async def test_a_guest_that_ends_meanwhile_fails_its_snapshot(box: Bench) -> None:
    await box.ask("gone", "INTERNAL")
    await box.driver.power_off(box.uuid)
    await box.world.settle(box.sandbox_id)
    assert (await box.get("gone")).reason == "the guest ended before its memory was kept"
    assert (await box.get("gone")).state is SnapshotState.FAILED
    await box.world.look()
    await box.world.settle(box.sandbox_id)
    assert (await box.sandbox()).state is SandboxState.ERROR


VERBS = {
    ("create", "INTERNAL"): ("ensure_pool", "take_snapshot"),
    ("revert", "INTERNAL"): ("ensure_pool", "revert_snapshot"),
    ("delete", "INTERNAL"): ("ensure_pool", "delete_snapshot"),
    ("create", "EXTERNAL"): ("ensure_pool", "freeze", "restate"),
    ("revert", "EXTERNAL"): (
        "power_off",
        "create_layer",
        "restate",
        "live_layer",
        "delete_volume",
        "volumes_absent",
    ),
    ("delete", "EXTERNAL"): (
        "merge",
        "restate",
        "live_layer",
        "delete_volume",
        "volumes_absent",
    ),
}


@pytest.mark.parametrize("polled", [False, True])
@pytest.mark.parametrize(("act", "kind"), VERBS)
async def test_what_is_cut_short_at_a_call_is_finished(
    box: Bench, act: str, kind: str, polled: bool
) -> None:
    """The host is lost before a call or after it took effect; whoever looks next goes on.

    A poll in between sees layers of which only the step that makes them may say what they are.
    """
    box.write(1, "old")
    if act == "revert":
        await box.make("first", kind)
    cuts = [(verb, after) for verb in VERBS[act, kind] for after in (False, True)]
    for number, (verb, after) in enumerate(cuts):
        name = "first" if act == "revert" else f"s{number}"
        if act == "delete":
            await box.make(name, kind)
        box.write(2, "new")
        box.driver.fail(verb, HostUnreachable("the host was lost"), after=after)
        with pytest.raises(HostUnreachable):
            await _act(box, act, name, kind)
        with pytest.raises(Conflict, match="one thing happens at a time"):
            await box.ask("other", kind)
        if polled:
            await box.world.look()
        await box.world.settle(box.sandbox_id)
        await box.check()
        assert box.read() == ({1: "old"} if act == "revert" else {1: "old", 2: "new"}), verb
        there = {one.name for one in await box.all() if one.state is SnapshotState.READY}
        assert (name in there) is (act != "delete")
        assert (await box.sandbox()).state is SandboxState.RUNNING


async def _act(box: Bench, act: str, name: str, kind: str) -> None:
    if act == "create":
        await box.make(name, kind)
    elif act == "revert":
        await box.revert(name)
    else:
        await box.delete(name)


async def _two_points(box: Bench) -> None:
    for number in range(2):
        box.write(number, str(number))
        await box.make(f"s{number}")
    box.write(2, "2")


async def _five(box: Bench) -> list[Snapshot]:
    made = []
    for number in range(5):
        box.write(number, str(number))
        made.append(await box.make(f"s{number}"))
    return made
