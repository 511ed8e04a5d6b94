"""Snapshots that a host refuses, is busy for or is lost for: nothing is in the way of the next.

On a machine in memory that keeps what guests write.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from scheduler.control.snapshot_effects import BUSY_AGAIN_SECONDS
from scheduler.errors import Conflict, HostRefused, HostUnreachable
from scheduler.hosts import ObjectBusy
from scheduler.model import DomainState, SandboxState, SnapshotState, StateReason, VolumeState
from scheduler.service.intents import Intent
from tests.control.snapshots import KINDS, Bench
from tests.control.world import ME
from tests.hosts.fake_snapshots import lose_power


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


@pytest.mark.parametrize("frozen", [True, False])
async def test_a_layer_that_an_unanswered_call_may_put_the_guest_on_is_not_deleted(
    box: Bench, frozen: bool
) -> None:
    """The daemon that asked is dead, and this one is refused: who works on the disk is asked."""
    box.write(0, "before")
    snapshot, host = await box.ask("odd"), box.driver.host
    (layer,) = [v for v in await box.world.volumes(box.sandbox_id) if v.backing == snapshot.ref]
    box.driver.fail("freeze", HostRefused("an external snapshot file exists"))
    host.disks.jobs.add(box.uuid)
    await box.driver.create_layer(layer.name, snapshot.ref)
    for _ in range(3):
        assert await box.world.converger.converge(box.sandbox_id) == BUSY_AGAIN_SECONDS
        assert layer.name in host.volumes
        box.world.clock.advance(BUSY_AGAIN_SECONDS)
    host.disks.jobs.clear()
    if frozen:
        host.domains[box.uuid].disks = (layer.name,)
    await box.world.settle(box.sandbox_id)
    made = await box.get("odd")
    assert made.state is (SnapshotState.READY if frozen else SnapshotState.FAILED)
    box.write(1, "after")
    assert box.read() == {0: "before", 1: "after"}
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


REVERT_CALLS = ["power_off", "create_layer", "restate", "live_layer", "settled_layer"]


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
    await _old_one_left(box, kind)
    other = "EXTERNAL" if kind == "INTERNAL" else "INTERNAL"
    with pytest.raises(Conflict, match=f"has {kind} snapshots"):
        await box.ask("new", other)
    await box.delete("old")
    assert (await box.make("new", other)).state is SnapshotState.READY
    await box.check()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_deletion_that_fails_can_be_asked_for_again(box: Bench, kind: str) -> None:
    await _old_one_left(box, kind)
    assert (await box.sandbox()).conditions == ()
    await box.delete("old")
    assert await box.all() == ()
    await box.check()


async def test_a_guest_that_ends_meanwhile_fails_its_snapshot(box: Bench) -> None:
    await box.ask("gone", "INTERNAL")
    await box.driver.power_off(box.uuid)
    await box.world.settle(box.sandbox_id)
    assert (await box.get("gone")).reason == "the guest ended before its memory was kept"
    assert (await box.get("gone")).state is SnapshotState.FAILED
    await box.world.look()
    await box.world.settle(box.sandbox_id)
    assert (await box.sandbox()).state is SandboxState.ERROR


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("verb", ["merge", "flush", "restate", "delete_volume", "volumes_absent"])
async def test_no_loss_of_power_costs_what_a_live_layer_took_up(
    box: Bench, verb: str, after: bool, runs: bool
) -> None:
    """At no call of a deletion is the layer below gone while the one above is in memory only."""
    box.write(1, "old")
    await box.make("point")
    box.write(2, "new")
    if not runs:
        await box.world.services.sandboxes.stop(box.sandbox_id, Intent(actor=ME))
        await box.world.settle(box.sandbox_id)
    box.driver.fail(verb, HostUnreachable("the power failed"), after=after)
    with pytest.raises(HostUnreachable):
        await box.delete("point")
    lose_power(box.driver.host)
    assert box.read() == {1: "old", 2: "new"}
    for _ in range(2):
        await box.world.look()
        await box.world.settle(box.sandbox_id)
    assert (await box.all(), box.read()) == ((), {1: "old", 2: "new"})
    ended = SandboxState.ERROR if runs else SandboxState.STOPPED
    assert (await box.sandbox()).state is ended
    assert not box.driver.host.domains[box.uuid].active
    await box.check()


async def test_a_deletion_waits_for_a_guest_that_somebody_paused(box: Bench) -> None:
    """Its disk can be written down only by letting it run, which is for them to say."""
    await box.make("point")
    await box.world.services.snapshots.remove(box.sandbox_id, "point", Intent(actor=ME))
    await box.world.converger.converge(box.sandbox_id)
    domain = box.driver.host.domains[box.uuid]
    domain.state, domain.reason = DomainState.PAUSED, StateReason.USER
    for _ in range(5):
        await box.world.look()
        pause = await box.world.converger.converge(box.sandbox_id)
    assert pause == BUSY_AGAIN_SECONDS
    assert (await box.get("point")).state is SnapshotState.DELETING
    assert len(await box.world.volumes(box.sandbox_id)) == 3
    domain.state, domain.reason = DomainState.RUNNING, StateReason.OTHER
    await box.world.look()
    await box.world.settle(box.sandbox_id)
    assert await box.all() == ()
    await box.check()


async def test_a_guest_that_ends_while_layers_merge_is_not_left_paused(
    box: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is off is started for a merge, without running: it must not be taken for its guest."""
    await box.make("point")
    await box.world.services.snapshots.remove(box.sandbox_id, "point", Intent(actor=ME))
    domain, merge = box.driver.host.domains[box.uuid], box.driver.merge

    async def merge_too_late(uuid: str, lower: str, upper: str, *, runs: bool) -> bool:
        domain.state, domain.reason = DomainState.SHUT_OFF, StateReason.GUEST_SHUTDOWN
        return await merge(uuid, lower, upper, runs=runs)

    with monkeypatch.context() as patched:
        patched.setattr(box.driver, "merge", merge_too_late)
        assert await box.world.converger.converge(box.sandbox_id) == BUSY_AGAIN_SECONDS
    assert not domain.active
    for _ in range(2):
        await box.world.look()
        await box.world.settle(box.sandbox_id)
    assert await box.all() == ()
    assert not domain.active
    assert (await box.sandbox()).state is SandboxState.STOPPED
    await box.check()


VERBS = {
    ("create", "INTERNAL"): ("ensure_pool", "take_snapshot"),
    ("revert", "INTERNAL"): ("ensure_pool", "revert_snapshot"),
    ("delete", "INTERNAL"): ("ensure_pool", "delete_snapshot"),
    ("create", "EXTERNAL"): ("ensure_pool", "freeze", "restate"),
    ("revert", "EXTERNAL"): (
        "power_off",
        "create_layer",
        "restate",
        "settled_layer",
        "delete_volume",
        "volumes_absent",
    ),
    ("delete", "EXTERNAL"): (
        "merge",
        "flush",
        "restate",
        "settled_layer",
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


async def _old_one_left(box: Bench, kind: str) -> None:
    """Make a snapshot whose deletion then fails."""
    await box.make("old", kind)
    verb = "delete_snapshot" if kind == "INTERNAL" else "merge"
    box.driver.fail(verb, HostRefused("the pool is full"), times=3)
    await box.delete("old")
    failed = await box.get("old")
    assert (failed.state, failed.reason) == (SnapshotState.FAILED, "the pool is full")


async def _two_points(box: Bench) -> None:
    for number in range(2):
        box.write(number, str(number))
        await box.make(f"s{number}")
    box.write(2, "2")


@pytest.mark.parametrize("verb", ["revert", "delete"])
async def test_what_a_domain_took_with_it_is_told_by_the_next_looks(box: Bench, verb: str) -> None:
    """A failed sandbox rests, so that nobody but a look goes on with its snapshot.

    As after a restart: the host was not listed yet when its worker asked.
    """
    await box.make("clean", "INTERNAL")
    del box.driver.host.domains[box.uuid]
    for _ in range(2):
        await _look(box)
    assert (await box.sandbox()).reason_code == "domain_lost"
    box.world.listings.lost(box.driver.host.host_id)

    if verb == "revert":
        await box.revert("clean")
    else:
        await box.delete("clean")
    assert (await box.get("clean")).unfinished, "one answer is no proof that it is gone"
    for _ in range(2):
        await _look(box)

    left = await box.get("clean")
    assert not left.unfinished
    assert left.reason == "the domain is not on its host any more"
    assert (await box.sandbox()).state is SandboxState.ERROR
    assert await box.world.reconcile() == []


async def _look(box: Bench) -> None:
    """Look at the host, and work on what that finds to do."""
    box.world.clock.advance(10)
    for sandbox_id in await box.world.reconcile():
        await box.world.settle(sandbox_id)
