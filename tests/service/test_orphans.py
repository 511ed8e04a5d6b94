"""Orphans are adopted or reaped by writing a record first; what is not ours is never touched."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.errors import AlreadyExists, Conflict, NotFound
from scheduler.lifecycle.orphans import OrphanCode
from scheduler.model import (
    Allocation,
    AllocationState,
    DesiredState,
    DomainState,
    HostState,
    Sandbox,
    SandboxState,
)
from scheduler.service.intents import Intent
from scheduler.service.requests import AdoptOrphan, Because
from tests.clocks import ManualClock
from tests.service.machines import Machine, built, lost, machine
from tests.service.planes import ME, Plane
from tests.service.snapshots_taken import before_and_after

INTENT: Intent[Sandbox] = Intent(actor=ME)


@pytest.fixture
async def alpha(cloud: Plane) -> Machine:
    return await machine(cloud)


async def adopt(cloud: Plane, sandbox: Sandbox, **fields: object) -> Sandbox:
    request = AdoptOrphan.model_validate({"reason": "", **fields})
    return await cloud.services.orphans.adopt("alpha", str(sandbox.domain_uuid), request, INTENT)


async def reap(cloud: Plane, sandbox: Sandbox) -> Sandbox:
    request = Because(reason="nobody's")
    return await cloud.services.orphans.reap("alpha", str(sandbox.domain_uuid), request, INTENT)


async def events(cloud: Plane, sandbox: Sandbox) -> list[str]:
    found = await cloud.store.read(lambda tx: tx.events.find())
    return [event.kind for event in found if event.sandbox_id == sandbox.id]


async def assert_consistent(cloud: Plane) -> None:
    """Counters are sums, and each live sandbox has exactly one allocation (I2)."""
    assert await cloud.store.read(lambda tx: tx.allocations.audit()) == ()
    held = await cloud.store.read(lambda tx: tx.allocations.all())
    live = await cloud.store.read(lambda tx: tx.sandboxes.live())
    assert sorted(one.sandbox_id for one in held) == sorted(one.id for one in live)


async def test_an_adopted_domain_is_the_sandbox_it_was(cloud: Plane, alpha: Machine) -> None:
    gone = lost(alpha, labels={"team": "a"})
    alpha.see()
    cloud.woken.clear()
    back = await adopt(cloud, gone, reason="found it")
    assert (back.id, back.sandbox_name, back.labels) == (gone.id, "lost", {"team": "a"})
    assert (back.state, back.desired_state) == (SandboxState.STARTING, DesiredState.RUNNING)
    assert await cloud.services.sandboxes.get("lost") == back
    assert cloud.woken == [gone.id, alpha.host.id]
    assert await events(cloud, gone) == ["sandbox.adopted"]
    holdings = await cloud.services.sandboxes.holdings(gone.id)
    assert len(holdings.volumes) == 2
    assert [one.host_id for one in holdings.allocations] == [alpha.host.id]
    await assert_consistent(cloud)
    assert (await cloud.services.orphans.find()) == ()
    (host,) = cloud.fleet.hosts()
    assert host.reserved_sandboxes == 1


async def test_what_is_adopted_counts_once_against_the_limits(cloud: Plane, alpha: Machine) -> None:
    """Until it is recorded it is somebody else's use of the host, and no longer afterwards (I1)."""
    gone = lost(alpha, vcpus=6, memory_mb=32768)
    await alpha.see_and_record()
    before = await cloud.services.hosts.get("alpha")
    assert (before.unmanaged_cpus, before.limit_cpus) == (6, 2)
    await adopt(cloud, gone)
    after = await cloud.services.hosts.get("alpha")
    assert (after.unmanaged_cpus, after.limit_cpus, after.reserved_cpus) == (0, 8, 6)


async def test_i1_what_images_on_their_way_may_take_stays_charged(
    cloud: Plane, alpha: Machine
) -> None:
    """A listing shows a part of them at most, and nothing claims their room."""
    gone = lost(alpha)
    await alpha.see_and_record()
    await cloud.poll(alpha.host, unmanaged_storage_mb=len(alpha.volumes) + 40_000)
    await adopt(cloud, gone)
    after = await cloud.services.hosts.get("alpha")
    assert after.unmanaged_storage_mb == len(alpha.volumes) - 2 + 40_000


async def test_i1_beyond_the_limits_it_takes_force_and_is_written_down(
    cloud: Plane, alpha: Machine
) -> None:
    gone = lost(alpha, vcpus=9)
    await alpha.see_and_record()
    before = await cloud.services.hosts.get("alpha")
    with pytest.raises(Conflict, match="cpu has 8, needs 9") as refused:
        await adopt(cloud, gone)
    assert "force" in str(refused.value.remedy)
    unchanged = await cloud.services.hosts.get("alpha")
    assert (unchanged.limit, unchanged.unmanaged_cpus) == (before.limit, before.unmanaged_cpus)
    assert await events(cloud, gone) == []

    await adopt(cloud, gone, force=True, reason="it runs anyway")
    found = await cloud.store.read(lambda tx: tx.events.find())
    (event,) = [one for one in found if one.kind == "sandbox.adopted"]
    assert event.evidence["beyond_limits"] == {
        "filter": "cpu",
        "have": 8,
        "need": 9,
        "host_id": alpha.host.id,
    }
    assert event.message.endswith("it runs anyway")
    await assert_consistent(cloud)


@pytest.mark.parametrize("state", [HostState.CORDONED, HostState.DRAINING])
async def test_a_host_that_takes_nothing_new_keeps_what_it_has(
    cloud: Plane, alpha: Machine, state: HostState
) -> None:
    await cloud.store.submit(
        lambda tx: tx.hosts.set_state(
            alpha.host.id, HostState.ACTIVE, state, at=cloud.clock.now(), reason="test"
        )
    )
    gone = lost(alpha)
    alpha.see()
    assert (await adopt(cloud, gone)).host_id == alpha.host.id


async def test_a_name_given_to_another_meanwhile_is_in_the_way(
    cloud: Plane, alpha: Machine
) -> None:
    gone = lost(alpha)
    other = await cloud.create(sandbox_name="lost")
    alpha.see()
    with pytest.raises(AlreadyExists, match=f"was given to {other.id}"):
        await adopt(cloud, gone)


async def test_a_volume_listed_for_something_else_is_in_the_way(
    cloud: Plane, alpha: Machine
) -> None:
    gone = lost(alpha)
    name = f"{gone.id.lower()}.qcow2"
    other = await built(alpha, await cloud.create())
    (volume, _) = await cloud.store.read(lambda tx: tx.volumes.of_owner(other.id))
    await cloud.store.submit(lambda tx: tx.volumes.add(replace(volume, name=name)))
    alpha.see()
    with pytest.raises(Conflict, match=f"volume {name}"):
        await adopt(cloud, gone)


async def test_a_group_s_member_is_not_adopted_beside_another(cloud: Plane, alpha: Machine) -> None:
    await cloud.create(anti_affinity_group="db")
    gone = lost(alpha)
    alpha.holds(gone, group="db")
    alpha.see()
    for force in (False, True):
        with pytest.raises(Conflict, match="group 'db'"):
            await adopt(cloud, gone, force=force)
    await assert_consistent(cloud)


async def test_a_reaped_domain_gets_a_record_that_wants_it_gone(
    cloud: Plane, alpha: Machine
) -> None:
    gone = lost(alpha, vcpus=9)
    alpha.see()
    back = await reap(cloud, gone)
    assert (back.id, back.desired_state) == (gone.id, DesiredState.DESTROYED)
    assert gone.id in cloud.woken
    assert await events(cloud, gone) == ["sandbox.reaped"]
    assert gone.id in {
        one.id for one in await cloud.store.read(lambda tx: tx.sandboxes.unsettled())
    }
    await assert_consistent(cloud)


async def test_what_is_left_of_a_destroyed_one_is_reaped_without_a_new_record(
    cloud: Plane, alpha: Machine, clock: ManualClock
) -> None:
    sandbox = await cloud.create()
    buried = await cloud.bury(sandbox)
    alpha.holds(sandbox)
    alpha.see()
    cloud.woken.clear()
    assert await reap(cloud, sandbox) == buried
    listed = await cloud.store.read(lambda tx: tx.volumes.of_owner(sandbox.id))
    assert {volume.host_id for volume in listed} == {alpha.host.id}
    assert alpha.host.id in cloud.woken
    assert (await events(cloud, sandbox))[-1] == "host.orphan"
    assert await cloud.services.sandboxes.get(sandbox.id) == buried
    # Again is harmless: the list is there already.
    await reap(cloud, sandbox)
    assert await cloud.store.read(lambda tx: tx.volumes.of_owner(sandbox.id)) == listed
    with pytest.raises(Conflict, match="destroyed"):
        await adopt(cloud, sandbox)


async def test_a_live_sandbox_is_no_orphan(cloud: Plane, alpha: Machine) -> None:
    box = await built(alpha, await cloud.create())
    alpha.see()
    for ask in (adopt, reap):
        with pytest.raises(Conflict, match="which is recorded here"):
            await ask(cloud, box)


async def test_a_copy_is_reaped_by_a_claim_of_its_own_and_never_adopted(
    cloud: Plane, alpha: Machine
) -> None:
    await cloud.add_host("beta")
    beta = await machine(cloud, "beta")
    box = await built(beta, await cloud.create(host="beta", anti_affinity_group="db"))
    alpha.holds(box, group="db")
    alpha.see()
    (orphan,) = await cloud.services.orphans.find()
    assert (orphan.code, orphan.verbs) == (OrphanCode.STRAY_COPY, ("reap",))
    with pytest.raises(Conflict, match="recorded on another host"):
        await adopt(cloud, box)

    assert (await reap(cloud, box)).desired_state is DesiredState.RUNNING
    held = {one.host_id: one for one in await _allocations(cloud, box)}
    assert held[alpha.host.id].state is AllocationState.RELEASING
    assert held[beta.host.id].state is AllocationState.CLAIMED
    listed = await cloud.store.read(lambda tx: tx.volumes.of_host(alpha.host.id))
    assert {one.owner for one in listed} == {box.id}
    assert len(listed) == 2
    assert alpha.host.id in cloud.woken
    assert await cloud.store.read(lambda tx: tx.allocations.audit()) == ()
    assert await cloud.services.orphans.find() == ()
    with pytest.raises(Conflict, match="recorded here"):
        await reap(cloud, box)


@pytest.fixture
async def lost_copy(cloud: Plane, alpha: Machine) -> tuple[Machine, Sandbox]:
    """A sandbox that is recorded on beta, where nothing of it is, and that is on alpha."""
    await cloud.add_host("beta")
    beta = await machine(cloud, "beta")
    box = await built(beta, await cloud.create(host="beta"))
    beta.domains.clear()
    beta.volumes.clear()
    alpha.holds(box)
    alpha.see(times=2)
    return beta, box


async def test_one_that_is_proven_not_to_be_where_it_is_recorded_is_taken_home(
    cloud: Plane, alpha: Machine, lost_copy: tuple[Machine, Sandbox]
) -> None:
    beta, box = lost_copy
    beta.see(times=2)
    (orphan,) = await cloud.services.orphans.find()
    assert (orphan.code, orphan.verbs) == (OrphanCode.STRAY_COPY, ("adopt", "reap"))
    back = await adopt(cloud, box, reason="restored")
    assert (back.id, back.host_name, back.expires_at) == (box.id, "alpha", box.expires_at)
    assert back.moved_at is not None
    held = {one.host_id: one.state for one in await _allocations(cloud, box)}
    assert held[alpha.host.id] is AllocationState.ACTIVE
    assert held[beta.host.id] is AllocationState.RELEASING
    assert await cloud.store.read(lambda tx: tx.allocations.audit()) == ()
    assert {alpha.host.id, beta.host.id, box.id} <= {*cloud.woken}
    assert "sandbox.adopted" in await events(cloud, box)
    with pytest.raises(Conflict, match="recorded here"):
        await adopt(cloud, box)


async def test_i13_its_snapshots_are_told_as_gone(
    cloud: Plane, alpha: Machine, lost_copy: tuple[Machine, Sandbox]
) -> None:
    beta, box = lost_copy
    await before_and_after(cloud, box)
    beta.see(times=2)
    await adopt(cloud, box)
    assert await cloud.store.read(lambda tx: tx.snapshots.of_sandbox(box.id)) == ()
    assert (await events(cloud, box)).count("snapshot.deleted") == 2


async def test_one_that_may_be_where_it_is_recorded_is_not_taken_away(
    cloud: Plane, alpha: Machine, lost_copy: tuple[Machine, Sandbox]
) -> None:
    beta, box = lost_copy
    with pytest.raises(Conflict, match="beta, and may be there"):
        await adopt(cloud, box)
    beta.see()
    with pytest.raises(Conflict, match="beta, and may be there"):
        await adopt(cloud, box)
    beta.see()
    await cloud.services.sandboxes.destroy(box.id, INTENT)
    with pytest.raises(Conflict, match="being destroyed"):
        await adopt(cloud, box)
    assert (await cloud.services.sandboxes.get(box.id)).host_name == "beta"


async def _allocations(cloud: Plane, sandbox: Sandbox) -> tuple[Allocation, ...]:
    return await cloud.store.read(lambda tx: tx.allocations.of_sandbox(sandbox.id))


@pytest.mark.parametrize("forged", [False, True])
async def test_i5_what_is_not_ours_is_neither_adopted_nor_reaped(
    cloud: Plane, alpha: Machine, forged: bool
) -> None:
    gone = lost(alpha)
    uuid = str(gone.domain_uuid)
    alpha.domains[uuid] = replace(alpha.domains[uuid], mark=None, forged=forged)
    alpha.see()
    for ask in (adopt, reap):
        with pytest.raises(Conflict, match="mark of ours"):
            await ask(cloud, gone)
    assert await cloud.store.read(lambda tx: tx.sandboxes.live()) == ()
    assert await cloud.store.read(lambda tx: tx.volumes.all()) == ()


async def test_nothing_is_done_on_an_old_picture(
    cloud: Plane, alpha: Machine, clock: ManualClock
) -> None:
    gone = lost(alpha)
    with pytest.raises(Conflict, match="was not listed lately"):
        await adopt(cloud, gone)
    alpha.see()
    clock.advance(timedelta(minutes=2).total_seconds())
    with pytest.raises(Conflict, match="was not listed lately"):
        await reap(cloud, gone)


async def test_what_is_not_there_is_not_found(cloud: Plane, alpha: Machine) -> None:
    alpha.see()
    with pytest.raises(NotFound, match="no domain"):
        await adopt(cloud, await cloud.create())
    with pytest.raises(NotFound):
        await cloud.services.orphans.reap("nowhere", "x", Because(), INTENT)


async def test_a_stopped_domain_is_adopted_as_stopped(cloud: Plane, alpha: Machine) -> None:
    gone = lost(alpha)
    alpha.holds(gone, DomainState.SHUT_OFF)
    alpha.see()
    back = await adopt(cloud, gone)
    assert (back.state, back.desired_state) == (SandboxState.STOPPED, DesiredState.STOPPED)
