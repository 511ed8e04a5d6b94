"""Only an operator lets go of what nobody can prove gone, and only on a host that is silent."""

from __future__ import annotations

import pytest

from scheduler.errors import Conflict, NotFound
from scheduler.lifecycle.orphans import OrphanCode
from scheduler.model import HostHealth, Sandbox, SandboxState, Snapshot
from scheduler.service.intents import Intent
from scheduler.service.requests import ForgetSandbox
from tests.service.machines import Machine, built, machine, move
from tests.service.planes import ME, Plane
from tests.service.snapshots_taken import snapshot

INTENT: Intent[Sandbox] = Intent(actor=ME)


@pytest.fixture
async def alpha(cloud: Plane) -> Machine:
    return await machine(cloud)


async def turns(cloud: Plane, alpha: Machine, health: HostHealth) -> None:
    await cloud.poll(alpha.host, health=health, health_reason="no route to host")


async def forget(cloud: Plane, sandbox: Sandbox, **fields: object) -> Sandbox:
    request = ForgetSandbox.model_validate({"reason": "it burned", **fields})
    return await cloud.services.forgetting.forget(sandbox.id, request, INTENT)


@pytest.mark.parametrize("health", [HostHealth.DOWN, HostHealth.UNKNOWN])
async def test_i3_on_a_silent_host_everything_is_released_and_told(
    cloud: Plane, alpha: Machine, health: HostHealth
) -> None:
    box = await built(alpha, await cloud.create())
    await turns(cloud, alpha, health)
    cloud.woken.clear()
    gone = await forget(cloud, box)
    assert (gone.state, gone.reason_code) == (SandboxState.DESTROYED, "forgotten")
    assert cloud.counts.forgotten_ids == [box.id]
    holdings = await cloud.services.sandboxes.holdings(box.id)
    assert (holdings.allocations, holdings.volumes) == ((), ())
    assert (await cloud.services.hosts.get("alpha")).reserved_sandboxes == 0
    assert cloud.fleet.hosts()[0].reserved_sandboxes == 0
    assert sorted(cloud.woken) == sorted([alpha.host.id, box.id])
    events = await cloud.store.read(lambda tx: tx.events.find())
    forgotten, buried = events[-2:]
    assert (forgotten.kind, forgotten.actor) == ("sandbox.forgotten", ME)
    assert "it burned" in forgotten.message
    assert forgotten.evidence["domain_uuid"] == box.domain_uuid
    assert len(forgotten.evidence["volumes"]) == 2  # type: ignore[arg-type]
    assert (buried.kind, buried.actor, buried.reason_code) == ("sandbox.state", ME, "forgotten")


async def test_its_snapshots_are_forgotten_with_it(cloud: Plane, alpha: Machine) -> None:
    box = await built(alpha, await cloud.create())
    await snapshot(cloud, box, "kept", None)
    await turns(cloud, alpha, HostHealth.DOWN)
    assert [one.name for one in await planned(cloud, box)] == ["kept"]
    await forget(cloud, box)
    assert await cloud.store.read(lambda tx: tx.snapshots.of_sandbox(box.id)) == ()
    told = (await cloud.store.read(lambda tx: tx.events.find()))[-2]
    assert told.evidence["snapshots"] == ["kept"]


async def planned(cloud: Plane, box: Sandbox) -> tuple[Snapshot, ...]:
    return (await cloud.services.forgetting.preview(box.id, ForgetSandbox())).snapshots


@pytest.mark.parametrize("health", [HostHealth.UP, HostHealth.SUSPECT])
async def test_i3_on_a_host_that_answers_it_takes_force(
    cloud: Plane, alpha: Machine, health: HostHealth
) -> None:
    box = await built(alpha, await cloud.create())
    await turns(cloud, alpha, health)
    with pytest.raises(Conflict, match=f"host alpha is {health}") as refused:
        await forget(cloud, box)
    assert "delete it" in str(refused.value.remedy)
    assert (await cloud.services.sandboxes.get(box.id)).live
    assert (await cloud.services.hosts.get("alpha")).reserved_sandboxes == 1
    assert not (await forget(cloud, box, force=True)).live


async def test_a_preview_names_what_may_be_left_and_changes_nothing(
    cloud: Plane, alpha: Machine
) -> None:
    box = await built(alpha, await cloud.create())
    plan = await cloud.services.forgetting.preview(box.sandbox_name, ForgetSandbox())
    assert (plan.sandbox.id, plan.hosts) == (box.id, ("alpha",))
    assert plan.blockers == ("host alpha is UP",)
    assert (len(plan.allocations), len(plan.volumes)) == (1, 2)
    assert (await cloud.services.sandboxes.get(box.id)).live


async def test_a_forgotten_host_can_be_removed(cloud: Plane, alpha: Machine) -> None:
    box = await built(alpha, await cloud.create())
    await turns(cloud, alpha, HostHealth.DOWN)
    with pytest.raises(Conflict):
        await cloud.services.hosts.remove("alpha", Intent(actor=ME))
    await forget(cloud, box)
    await cloud.services.hosts.remove("alpha", Intent(actor=ME))


async def test_what_is_seen_again_is_the_remains_of_a_destroyed_sandbox(
    cloud: Plane, alpha: Machine
) -> None:
    box = await built(alpha, await cloud.create())
    await turns(cloud, alpha, HostHealth.DOWN)
    await forget(cloud, box)
    await turns(cloud, alpha, HostHealth.UP)
    alpha.see(times=2)
    (orphan,) = await cloud.services.orphans.find()
    assert (orphan.code, orphan.sandbox_id) == (OrphanCode.TOMBSTONED, box.id)


async def test_one_host_of_two_is_forgotten_and_the_sandbox_lives_on(
    cloud: Plane, alpha: Machine
) -> None:
    """As when a build was moved away from a host that then died with what it had begun."""
    beta = await cloud.add_host("beta")
    box = await built(alpha, await cloud.create(host="alpha"))
    await move(alpha, box, beta)
    await turns(cloud, alpha, HostHealth.DOWN)
    with pytest.raises(Conflict, match="host beta is UP"):
        await forget(cloud, box)
    left = await forget(cloud, box, host="alpha")
    assert (left.live, left.host_id) == (True, beta.id)
    holdings = await cloud.services.sandboxes.holdings(box.id)
    assert [one.host_id for one in holdings.allocations] == [beta.id]
    assert {one.host_id for one in holdings.volumes} == {beta.id}
    with pytest.raises(Conflict, match="holds nothing on host alpha"):
        await forget(cloud, box, host="alpha")


async def test_there_is_nothing_to_forget_of_what_is_gone(cloud: Plane, alpha: Machine) -> None:
    box = await cloud.create()
    await cloud.bury(box)
    with pytest.raises(Conflict, match="destroyed already"):
        await forget(cloud, box)
    with pytest.raises(NotFound):
        await cloud.services.forgetting.preview("nobody", ForgetSandbox())


async def test_i13_snapshots_that_go_before_their_sandbox_are_told_of(
    cloud: Plane, alpha: Machine
) -> None:
    beta = await cloud.add_host("beta")
    box = await built(alpha, await cloud.create(host="alpha"))
    await move(alpha, box, beta)
    await snapshot(cloud, box, "kept", None)
    await cloud.poll(beta, health=HostHealth.DOWN)
    (kept,) = await planned(cloud, box)
    assert (await forget(cloud, box, host="beta")).live
    assert await cloud.store.read(lambda tx: tx.snapshots.of_sandbox(box.id)) == ()
    events = await cloud.store.read(lambda tx: tx.events.find())
    told = [one for one in events if one.kind == "snapshot.deleted"]
    assert [(one.actor, one.evidence["snapshot_id"]) for one in told] == [(ME, kept.id)]
