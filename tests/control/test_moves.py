"""A sandbox is moved to another host with its disk, on hosts in memory and with real images."""

from __future__ import annotations

import pytest

from scheduler.errors import (
    CapacityExhausted,
    Conflict,
    ConstraintImpossible,
    NotFound,
    StaleRevision,
)
from scheduler.model import (
    AllocationState,
    DomainState,
    Phase,
    SandboxState,
    VirtType,
    VolumeRole,
)
from scheduler.service import wishes
from scheduler.service.drains import DrainStatus
from scheduler.service.intents import Intent
from tests.control.imagery import content, digest_of
from tests.control.moving import CROWD, OWNER, Moving, driver_on, failing
from tests.control.snapshots import Bench
from tests.control.world import ME

DRAINS: Intent[DrainStatus] = Intent(actor=ME)
RELEASING = AllocationState.RELEASING


async def test_its_disk_and_all_that_is_its_own_go_with_it(pair: Moving) -> None:
    before = await pair.stood(ttl_seconds=9000, labels={"for": "it"}, user_data="#cloud-config\n{}")
    before = await pair.world.sandbox(before.id)
    await pair.asked(before)
    assert not wishes.settled(await pair.world.sandbox(before.id))
    after = await pair.go_on(before)

    assert (after.state, after.host_name) == (SandboxState.RUNNING, "beta")
    for kept in ("domain_uuid", "mac", "labels", "expires_at", "ttl_seconds", "ssh_public_keys"):
        assert getattr(after, kept) == getattr(before, kept), kept
    assert (after.ssh_ca, after.user_data_bytes) == (before.ssh_ca, before.user_data_bytes)
    assert (after.move_asked_at, after.move_to, after.move_reason) == (None, None, None)
    assert after.image_digest == digest_of(content())
    (image,) = await pair.images()
    assert (image.owner_sandbox_id, image.name) == (before.id, after.base_image)
    assert image.usable
    beta = await driver_on(pair.world, "beta")
    assert beta.host.domains[after.domain_uuid or ""].state is DomainState.RUNNING
    assert pair.imagery.held(beta, image) == content()
    assert await pair.claims(after) == {"alpha": RELEASING, "beta": AllocationState.ACTIVE}
    await pair.world.assert_ledger()

    await pair.clear(after)
    assert await pair.left_on("alpha") == []
    assert (await driver_on(pair.world, "alpha")).host.domains == {}
    assert await pair.claims(after) == {"beta": AllocationState.ACTIVE}
    assert {name for name, _ in await pair.roles(after)} == {"beta"}
    assert (await pair.world.host("alpha")).reserved_sandboxes == 0
    await pair.world.assert_ledger()


async def test_a_move_is_told_from_its_wish_to_its_end(pair: Moving) -> None:
    before = await pair.stood()
    await pair.moved(before, "beta")
    (asked,) = await pair.world.events(kind="sandbox.move_requested")
    assert asked.evidence["to_host"] == "beta"
    assert "new disks" in asked.message
    (moved,) = await pair.world.events(kind="sandbox.moved")
    after = await pair.world.sandbox(before.id)
    assert moved.evidence["from_host"] == "alpha"
    assert moved.evidence["to_host"] == "beta"
    assert moved.evidence["image"] == after.base_image
    assert moved.evidence["image_digest"] == after.image_digest
    assert moved.evidence["decision_id"] == after.decision_id
    decisions = await pair.world.store.read(lambda tx: tx.decisions.of_sandbox(before.id))
    assert decisions[-1].host_name == "beta"
    assert decisions[-1].demand["host"] == "beta"


async def test_one_that_is_off_moves_and_stays_off(pair: Moving) -> None:
    before = await pair.stood(SandboxState.STOPPED, auto_start=False)
    after = await pair.moved(before)
    assert (after.state, after.host_name) == (SandboxState.STOPPED, "beta")
    assert pair.world.domain_of(after).state is DomainState.SHUT_OFF
    await pair.world.services.sandboxes.start(after.id, OWNER)
    up = await pair.go_on(after)
    assert (up.state, up.host_name) == (SandboxState.RUNNING, "beta")


async def test_a_guest_is_shut_down_only_once_there_is_a_host_for_it(pair: Moving) -> None:
    before = await pair.stood()
    await pair.asked(before)
    full = await pair.world.created(host="beta", vcpus=CROWD)
    for _ in range(3):
        await pair.turn(before)
    waiting = await pair.world.sandbox(before.id)
    assert (waiting.state, waiting.phase) == (SandboxState.RUNNING, Phase.MOVE)
    assert pair.world.domain_of(waiting).state is DomainState.RUNNING
    (message,) = failing(waiting)
    assert "no other host takes" in message
    assert (await driver_on(pair.world, "alpha")).calls["shutdown"] == 0
    await pair.world.services.sandboxes.destroy(full.id, OWNER)
    await pair.world.settle(full.id)
    assert (await pair.go_on(before)).host_name == "beta"


async def test_without_room_at_the_end_it_waits_and_goes_on(pair: Moving) -> None:
    before = await pair.stood()
    await pair.asked(before)
    while (await pair.world.sandbox(before.id)).state is not SandboxState.STOPPED:
        await pair.turn(before)
    full = await pair.world.created(host="beta", vcpus=CROWD)
    for _ in range(4):
        await pair.turn(before)
    waiting = await pair.world.sandbox(before.id)
    assert (waiting.state, waiting.host_name) == (SandboxState.STOPPED, "alpha")
    assert "no other host takes" in failing(waiting)[0]
    await pair.world.services.sandboxes.destroy(full.id, OWNER)
    await pair.world.settle(full.id)
    await pair.later(300)
    assert (await pair.go_on(before)).host_name == "beta"


async def test_where_nobody_has_room_nothing_is_wished(pair: Moving) -> None:
    before = await pair.stood()
    await pair.world.created(host="beta", vcpus=CROWD)
    sandboxes = pair.world.services.sandboxes
    with pytest.raises(CapacityExhausted):
        await pair.asked(before)
    with pytest.raises(CapacityExhausted):
        await sandboxes.preview_move(before.id)
    assert (await pair.world.sandbox(before.id)).move_asked_at is None


async def test_it_is_previewed_without_a_trace(pair: Moving) -> None:
    before = await pair.stood()
    decision = await pair.world.services.sandboxes.preview_move(before.id)
    assert decision.host_name == "beta"
    assert await pair.world.sandbox(before.id) == before


@pytest.mark.parametrize("to", [None, "beta"])
async def test_the_same_wish_again_is_the_one_there_is(pair: Moving, to: str | None) -> None:
    before = await pair.stood()
    first = await pair.asked(before, to)
    assert await pair.asked(before, to) == first
    await pair.world.add_seen_host("gamma")
    with pytest.raises(Conflict, match="already"):
        await pair.asked(before, "gamma")


async def test_what_cannot_be_moved_is_refused_with_its_reason(pair: Moving) -> None:
    before = await pair.stood()
    sandboxes = pair.world.services.sandboxes
    with pytest.raises(NotFound):
        await pair.asked(before, "nowhere")
    with pytest.raises(Conflict, match="is on alpha already"):
        await pair.asked(before, "alpha")
    with pytest.raises(StaleRevision):
        await sandboxes.move(before.id, OWNER, expected_revision=before.revision + 1)
    with pytest.raises(Conflict, match="not being moved"):
        await sandboxes.cancel_move(before.id, OWNER)
    alpha = await driver_on(pair.world, "alpha")
    box = Bench(world=pair.world, driver=alpha, sandbox_id=before.id)
    await box.make("clean", "EXTERNAL")
    with pytest.raises(Conflict, match="clean") as told:
        await pair.asked(before)
    assert told.value.details["reason"] == "has_snapshots"


async def test_one_of_another_architecture_takes_no_disk(pair: Moving) -> None:
    before = await pair.stood()
    beta = await pair.world.host("beta")
    now = pair.world.clock.now()
    await pair.world.store.submit(lambda tx: tx.hosts.observe(beta.id, at=now, arch="aarch64"))
    await pair.world.fleet.load()
    with pytest.raises(ConstraintImpossible):
        await pair.asked(before)


async def test_a_snapshot_waits_for_the_end_of_the_move(pair: Moving) -> None:
    before = await pair.stood()
    await pair.asked(before)
    alpha = await driver_on(pair.world, "alpha")
    box = Bench(world=pair.world, driver=alpha, sandbox_id=before.id)
    with pytest.raises(Conflict, match="and to move"):
        await box.make("clean", "EXTERNAL")


async def test_a_simulated_disk_goes_with_its_image_alone(pair: Moving) -> None:
    before = await pair.stood()
    for name in ("alpha", "beta"):
        host, now = await pair.world.host(name), pair.world.clock.now()
        await pair.world.store.submit(
            lambda tx, id=host.id, at=now: tx.hosts.observe(  # type: ignore[misc]
                id, at=at, proven_virt_type=VirtType.TEST
            )
        )
    await pair.world.fleet.load()
    await pair.asked(before)
    await pair.world.settle(before.id)
    after = await pair.world.sandbox(before.id)
    assert (after.state, after.host_name) == (SandboxState.RUNNING, "beta")
    assert (after.base_image, after.image_digest) == (before.base_image, None)
    assert await pair.images() == ()


async def test_all_loops_together_move_it_and_clear_its_host(pair: Moving) -> None:
    before = await pair.stood()
    async with pair.world.running(poll_seconds=10.0):
        await pair.asked(before)

        async def there() -> bool:
            found = await pair.world.sandbox(before.id)
            claims = await pair.claims(found)
            return found.state is SandboxState.RUNNING and set(claims) == {"beta"}

        await pair.world.until(there, within=600, what="it runs on beta")
    assert await pair.left_on("alpha") == []
    assert {role for _, role in await pair.roles(before)} == {VolumeRole.OVERLAY, VolumeRole.SEED}
    await pair.world.assert_ledger()
