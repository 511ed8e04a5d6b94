"""A sandbox is moved to another host with its disk, on hosts in memory and with real images."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.errors import (
    CapacityExhausted,
    Conflict,
    ConstraintImpossible,
    HostRefused,
    NotFound,
    StaleRevision,
)
from scheduler.lifecycle.steps import ConditionKind
from scheduler.model import (
    AllocationState,
    DesiredState,
    DomainState,
    ImageState,
    Phase,
    SandboxState,
    VirtType,
    VolumeRole,
)
from scheduler.service import wishes
from tests.control.imagery import content, digest_of
from tests.control.moving import OWNER, Moving, disk_of, driver_on
from tests.control.snapshots import Bench
from tests.control.world import World

RELEASING = AllocationState.RELEASING
CROWD = 8
"""As many CPUs as a host has."""


@pytest.fixture
async def two(empty: World) -> Moving:
    """Two hosts, `alpha` first."""
    for name in ("alpha", "beta"):
        await empty.add_seen_host(name)
    return Moving(empty)


def failing(sandbox: object) -> list[str]:
    found = getattr(sandbox, "conditions", ())
    return [c.message for c in found if c.kind == ConditionKind.FAILING]


async def test_its_disk_and_all_that_is_its_own_go_with_it(two: Moving) -> None:
    before = await two.stood(ttl_seconds=9000, labels={"for": "it"}, user_data="#cloud-config\n{}")
    before = await two.world.sandbox(before.id)
    await two.asked(before)
    assert not wishes.settled(await two.world.sandbox(before.id))
    after = await two.go_on(before)

    assert (after.state, after.host_name) == (SandboxState.RUNNING, "beta")
    for kept in ("domain_uuid", "mac", "labels", "expires_at", "ttl_seconds", "ssh_public_keys"):
        assert getattr(after, kept) == getattr(before, kept), kept
    assert (after.ssh_ca, after.user_data_bytes) == (before.ssh_ca, before.user_data_bytes)
    assert (after.move_asked_at, after.move_to, after.move_reason) == (None, None, None)
    assert after.image_digest == digest_of(content())
    (image,) = await two.images()
    assert (image.owner_sandbox_id, image.name) == (before.id, after.base_image)
    assert image.usable
    beta = await driver_on(two.world, "beta")
    assert beta.host.domains[after.domain_uuid or ""].state is DomainState.RUNNING
    assert two.imagery.held(beta, image) == content()
    assert await two.claims(after) == {"alpha": RELEASING, "beta": AllocationState.ACTIVE}
    await two.world.assert_ledger()

    await two.clear(after)
    assert await two.left_on("alpha") == []
    assert (await driver_on(two.world, "alpha")).host.domains == {}
    assert await two.claims(after) == {"beta": AllocationState.ACTIVE}
    assert {name for name, _ in await two.roles(after)} == {"beta"}
    assert (await two.world.host("alpha")).reserved_sandboxes == 0
    await two.world.assert_ledger()


async def test_a_move_is_told_from_its_wish_to_its_end(two: Moving) -> None:
    before = await two.stood()
    await two.moved(before, "beta")
    (asked,) = await two.world.events(kind="sandbox.move_requested")
    assert asked.evidence["to_host"] == "beta"
    assert "new disks" in asked.message
    (moved,) = await two.world.events(kind="sandbox.moved")
    after = await two.world.sandbox(before.id)
    assert moved.evidence["from_host"] == "alpha"
    assert moved.evidence["to_host"] == "beta"
    assert moved.evidence["image"] == after.base_image
    assert moved.evidence["image_digest"] == after.image_digest
    assert moved.evidence["decision_id"] == after.decision_id
    decisions = await two.world.store.read(lambda tx: tx.decisions.of_sandbox(before.id))
    assert decisions[-1].host_name == "beta"
    assert decisions[-1].demand["host"] == "beta"


async def test_one_that_is_off_moves_and_stays_off(two: Moving) -> None:
    before = await two.stood(SandboxState.STOPPED, auto_start=False)
    after = await two.moved(before)
    assert (after.state, after.host_name) == (SandboxState.STOPPED, "beta")
    assert two.world.domain_of(after).state is DomainState.SHUT_OFF
    await two.world.services.sandboxes.start(after.id, OWNER)
    up = await two.go_on(after)
    assert (up.state, up.host_name) == (SandboxState.RUNNING, "beta")


async def test_a_guest_is_shut_down_only_once_there_is_a_host_for_it(two: Moving) -> None:
    before = await two.stood()
    await two.asked(before)
    full = await two.world.created(host="beta", vcpus=CROWD)
    for _ in range(3):
        await two.turn(before)
    waiting = await two.world.sandbox(before.id)
    assert (waiting.state, waiting.phase) == (SandboxState.RUNNING, Phase.MOVE)
    assert two.world.domain_of(waiting).state is DomainState.RUNNING
    (message,) = failing(waiting)
    assert "no other host takes" in message
    assert (await driver_on(two.world, "alpha")).calls["shutdown"] == 0
    await two.world.services.sandboxes.destroy(full.id, OWNER)
    await two.world.settle(full.id)
    assert (await two.go_on(before)).host_name == "beta"


async def test_without_room_at_the_end_it_waits_and_goes_on(two: Moving) -> None:
    before = await two.stood()
    await two.asked(before)
    while (await two.world.sandbox(before.id)).state is not SandboxState.STOPPED:
        await two.turn(before)
    full = await two.world.created(host="beta", vcpus=CROWD)
    for _ in range(4):
        await two.turn(before)
    waiting = await two.world.sandbox(before.id)
    assert (waiting.state, waiting.host_name) == (SandboxState.STOPPED, "alpha")
    assert "no other host takes" in failing(waiting)[0]
    await two.world.services.sandboxes.destroy(full.id, OWNER)
    await two.world.settle(full.id)
    await two.later(300)
    assert (await two.go_on(before)).host_name == "beta"


async def test_where_nobody_has_room_nothing_is_wished(two: Moving) -> None:
    before = await two.stood()
    await two.world.created(host="beta", vcpus=CROWD)
    sandboxes = two.world.services.sandboxes
    with pytest.raises(CapacityExhausted):
        await two.asked(before)
    with pytest.raises(CapacityExhausted):
        await sandboxes.preview_move(before.id)
    assert (await two.world.sandbox(before.id)).move_asked_at is None


async def test_it_is_previewed_without_a_trace(two: Moving) -> None:
    before = await two.stood()
    decision = await two.world.services.sandboxes.preview_move(before.id)
    assert decision.host_name == "beta"
    assert await two.world.sandbox(before.id) == before


@pytest.mark.parametrize("to", [None, "beta"])
async def test_the_same_wish_again_is_the_one_there_is(two: Moving, to: str | None) -> None:
    before = await two.stood()
    first = await two.asked(before, to)
    assert await two.asked(before, to) == first
    await two.world.add_seen_host("gamma")
    with pytest.raises(Conflict, match="already"):
        await two.asked(before, "gamma")


async def test_what_cannot_be_moved_is_refused_with_its_reason(two: Moving) -> None:
    before = await two.stood()
    sandboxes = two.world.services.sandboxes
    with pytest.raises(NotFound):
        await two.asked(before, "nowhere")
    with pytest.raises(Conflict, match="is on alpha already"):
        await two.asked(before, "alpha")
    with pytest.raises(StaleRevision):
        await sandboxes.move(before.id, OWNER, expected_revision=before.revision + 1)
    with pytest.raises(Conflict, match="not being moved"):
        await sandboxes.cancel_move(before.id, OWNER)
    alpha = await driver_on(two.world, "alpha")
    box = Bench(world=two.world, driver=alpha, sandbox_id=before.id)
    await box.make("clean", "EXTERNAL")
    with pytest.raises(Conflict, match="clean") as told:
        await two.asked(before)
    assert told.value.details["reason"] == "has_snapshots"


async def test_one_of_another_architecture_takes_no_disk(two: Moving) -> None:
    before = await two.stood()
    beta = await two.world.host("beta")
    now = two.world.clock.now()
    await two.world.store.submit(lambda tx: tx.hosts.observe(beta.id, at=now, arch="aarch64"))
    await two.world.fleet.load()
    with pytest.raises(ConstraintImpossible):
        await two.asked(before)


async def test_a_snapshot_waits_for_the_end_of_the_move(two: Moving) -> None:
    before = await two.stood()
    await two.asked(before)
    alpha = await driver_on(two.world, "alpha")
    box = Bench(world=two.world, driver=alpha, sandbox_id=before.id)
    with pytest.raises(Conflict, match="and to move"):
        await box.make("clean", "EXTERNAL")


@pytest.mark.parametrize("state", [SandboxState.RUNNING, SandboxState.STOPPED])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
async def test_a_cancelled_move_leaves_it_where_and_as_it_was(
    two: Moving, state: SandboxState, turns: int
) -> None:
    before = await two.stood(state, auto_start=state is SandboxState.RUNNING)
    await two.asked(before)
    full = await two.world.created(host="beta", vcpus=CROWD)
    for _ in range(turns):
        await two.turn(before)
    kept = await two.world.services.sandboxes.cancel_move(before.id, OWNER)
    assert (kept.move_asked_at, failing(kept)) == (None, [])
    after = await two.go_on(before)
    assert (after.state, after.host_name) == (state, "alpha")
    assert (after.image_digest, after.base_image) == (before.image_digest, before.base_image)
    await two.world.settle(full.id)
    await two.keep()
    assert await two.images() == ()
    assert await two.left_on("alpha") == [disk_of(before), f"{before.id.lower()}-seed.iso"]
    (told,) = await two.world.events(kind="sandbox.move_cancelled")
    assert told.sandbox_id == before.id
    await two.world.assert_ledger()


async def test_a_copy_of_a_move_that_was_cancelled_meanwhile_is_nobodys(two: Moving) -> None:
    before = await two.stood()
    alpha = await driver_on(two.world, "alpha")
    flatten = alpha.flatten_volume

    async def cancelled(source: str, name: str) -> None:
        await flatten(source, name)
        await two.world.services.sandboxes.cancel_move(before.id, OWNER)

    alpha.flatten_volume = cancelled  # type: ignore[method-assign]
    await two.asked(before)
    after = await two.go_on(before)
    assert (after.state, after.host_name) == (SandboxState.RUNNING, "alpha")
    await two.keep()
    assert await two.images() == ()
    assert len(await two.left_on("alpha")) == 2


async def test_a_disk_that_is_written_to_meanwhile_is_copied_again(two: Moving) -> None:
    before = await two.stood()
    alpha = await driver_on(two.world, "alpha")
    flatten, times = alpha.flatten_volume, []

    async def written(source: str, name: str) -> None:
        await flatten(source, name)
        times.append(source)
        if len(times) == 1:
            disk = alpha.host.volumes[source]
            alpha.host.volumes[source] = replace(disk, physical=disk.physical + 4096)

    alpha.flatten_volume = written  # type: ignore[method-assign]
    await two.asked(before)
    for _ in range(4):
        await two.turn(before)
    await two.later(300)
    after = await two.go_on(before)
    assert (after.host_name, len(times)) == ("beta", 2)


async def test_a_domain_that_somebody_starts_is_not_copied(two: Moving) -> None:
    before = await two.stood(SandboxState.STOPPED, auto_start=False)
    alpha = await driver_on(two.world, "alpha")
    flatten = alpha.flatten_volume

    async def started(source: str, name: str) -> None:
        await flatten(source, name)
        alpha.host.domains[before.domain_uuid or ""].state = DomainState.RUNNING

    alpha.flatten_volume = started  # type: ignore[method-assign]
    await two.asked(before)
    await two.turn(before)
    refused = [one for one in await two.images() if one.state is ImageState.REFUSED]
    assert "not off" in (refused[0].reason or "")
    alpha.flatten_volume = flatten  # type: ignore[method-assign]
    await two.later(300)
    after = await two.go_on(before)
    assert (after.state, after.host_name) == (SandboxState.STOPPED, "beta")


async def test_a_refused_image_is_made_anew_and_its_reason_told(two: Moving) -> None:
    before = await two.stood()
    alpha = await driver_on(two.world, "alpha")
    flatten = alpha.flatten_volume

    async def torn(source: str, name: str) -> None:
        await flatten(source, name)
        del alpha.host.contents[name][100_000:]

    alpha.flatten_volume = torn  # type: ignore[method-assign]
    await two.asked(before)
    for _ in range(5):
        await two.turn(before)
    waiting = await two.world.sandbox(before.id)
    assert (waiting.state, waiting.host_name) == (SandboxState.STOPPED, "alpha")
    assert "was refused as an image" in failing(waiting)[0]
    alpha.flatten_volume = flatten  # type: ignore[method-assign]
    await two.later(300)
    assert (await two.go_on(before)).host_name == "beta"


async def test_the_room_of_the_copy_is_asked_for_first(two: Moving) -> None:
    before = await two.stood()
    alpha = await driver_on(two.world, "alpha")
    alpha.host.full = True
    await two.asked(before)
    for _ in range(4):
        await two.turn(before)
    waiting = await two.world.sandbox(before.id)
    assert "MiB of storage left" in failing(waiting)[0]
    assert alpha.calls["flatten_volume"] == 0
    alpha.host.full = False
    await two.later(300)
    assert (await two.go_on(before)).host_name == "beta"


async def test_moved_again_it_leaves_no_image_behind(two: Moving) -> None:
    first = await two.moved(await two.stood())
    await two.clear(first)
    beta = await driver_on(two.world, "beta")
    beta.host.contents[disk_of(first)] = bytearray(content(17))
    await two.later(60)
    second = await two.moved(first)
    await two.clear(second, "beta")
    assert (second.host_name, second.image_digest) == ("alpha", digest_of(content(17)))
    assert len(await two.images()) == 2
    await two.keep()
    (image,) = await two.images()
    assert image.name == second.base_image
    assert await two.left_on("beta") == []

    await two.world.services.sandboxes.destroy(second.id, OWNER)
    await two.world.settle(second.id)
    await two.keep()
    assert await two.images() == ()
    alpha = await driver_on(two.world, "alpha")
    assert list(alpha.host.volumes) == ["golden.qcow2"]


async def test_a_disk_that_is_an_image_already_moves_by_that(two: Moving) -> None:
    first = await two.moved(await two.stood())
    await two.clear(first)
    beta = await driver_on(two.world, "beta")
    beta.host.contents[disk_of(first)] = bytearray(content())
    await two.later(60)
    second = await two.moved(first)
    assert (second.host_name, second.image_digest) == ("alpha", first.image_digest)
    await two.keep()
    (image,) = await two.images()
    assert (image.name, image.usable) == (second.base_image, True)


async def test_an_image_that_others_were_made_of_stays(two: Moving) -> None:
    first = await two.moved(await two.stood())
    other = await two.world.create(base_image=first.base_image, host="alpha", storage_mb=32)
    await two.go_on(other)
    await two.clear(first)
    await two.world.services.sandboxes.destroy(first.id, OWNER)
    await two.world.settle(first.id)
    await two.keep()
    assert [one.usable for one in await two.images()] == [True]


@pytest.mark.parametrize("verb", ["define", "start"])
async def test_a_target_that_fails_it_has_it_tried_elsewhere(two: Moving, verb: str) -> None:
    await two.world.add_seen_host("gamma")
    before = await two.stood(ttl_seconds=9000)
    (await driver_on(two.world, "beta")).fail(verb, HostRefused("no such network"), times=99)
    await two.asked(before)
    for _ in range(20):
        await two.world.look("gamma")
        after = await two.go_on(before, turns=2)
        if after.state is SandboxState.RUNNING and after.host_name != "alpha":
            break
    assert (after.state, after.host_name) == (SandboxState.RUNNING, "gamma")
    assert after.image_digest == digest_of(content())
    assert (after.expires_at, after.ssh_ca) == (before.expires_at, before.ssh_ca)
    await two.world.assert_ledger()


async def test_a_pinned_target_that_fails_it_is_tried_again_by_its_owner(two: Moving) -> None:
    before = await two.stood()
    beta = await driver_on(two.world, "beta")
    beta.fail("define", HostRefused("no such network"), times=99)
    await two.asked(before, "beta")
    for _ in range(20):
        await two.turn(before)
    failed = await two.world.sandbox(before.id)
    assert (failed.state, failed.host_name) == (SandboxState.ERROR, "beta")
    beta.faults.clear()
    await two.world.services.sandboxes.retry(before.id, OWNER)
    after = await two.go_on(before)
    assert (after.state, after.host_name) == (SandboxState.RUNNING, "beta")
    (image,) = await two.images()
    assert two.imagery.held(beta, image) == content()


async def test_it_is_destroyed_wherever_the_wish_finds_it(two: Moving) -> None:
    before = await two.stood()
    await two.asked(before)
    await two.turn(before)
    await two.world.services.sandboxes.destroy(before.id, OWNER)
    assert (await two.world.sandbox(before.id)).move_asked_at is None
    await two.world.settle(before.id)
    assert not (await two.world.sandbox(before.id)).live
    await two.keep()
    await two.keep()
    assert await two.images() == ()
    assert await two.left_on("alpha") == []
    assert await two.left_on("beta") == []
    await two.world.assert_ledger()


async def test_destroyed_on_its_way_it_waits_for_what_it_left(two: Moving) -> None:
    before = await two.stood()
    await two.asked(before)
    while (await two.world.sandbox(before.id)).host_name == "alpha":
        await two.turn(before)
    await two.world.services.sandboxes.destroy(before.id, OWNER)
    await two.world.settle(before.id)
    leaving = await two.world.sandbox(before.id)
    assert leaving.live
    assert "failed to build" not in leaving.conditions[-1].message
    await two.clear(before)
    await two.world.settle(before.id)
    assert not (await two.world.sandbox(before.id)).live
    await two.world.assert_ledger()


async def test_one_that_fails_on_its_way_out_is_not_to_move_any_more(two: Moving) -> None:
    before = await two.stood()
    await two.asked(before)
    del (await driver_on(two.world, "alpha")).host.domains[before.domain_uuid or ""]
    for _ in range(3):
        await two.turn(before)
    lost = await two.world.sandbox(before.id)
    assert (lost.state, lost.reason_code, lost.move_asked_at) == (
        SandboxState.ERROR,
        "domain_lost",
        None,
    )


async def test_a_start_or_a_stop_meanwhile_is_what_comes_true_there(two: Moving) -> None:
    before = await two.stood()
    await two.asked(before)
    await two.turn(before)
    await two.world.services.sandboxes.stop(before.id, OWNER)
    after = await two.go_on(before)
    assert (after.state, after.desired_state) == (SandboxState.STOPPED, DesiredState.STOPPED)
    assert after.host_name == "beta"


async def test_a_simulated_disk_goes_with_its_image_alone(two: Moving) -> None:
    before = await two.stood()
    for name in ("alpha", "beta"):
        host, now = await two.world.host(name), two.world.clock.now()
        await two.world.store.submit(
            lambda tx, id=host.id, at=now: tx.hosts.observe(  # type: ignore[misc]
                id, at=at, proven_virt_type=VirtType.TEST
            )
        )
    await two.world.fleet.load()
    await two.asked(before)
    await two.world.settle(before.id)
    after = await two.world.sandbox(before.id)
    assert (after.state, after.host_name) == (SandboxState.RUNNING, "beta")
    assert (after.base_image, after.image_digest) == (before.base_image, None)
    assert await two.images() == ()


async def test_all_loops_together_move_it_and_clear_its_host(two: Moving) -> None:
    before = await two.stood()
    async with two.world.running(poll_seconds=10.0):
        await two.asked(before)

        async def there() -> bool:
            found = await two.world.sandbox(before.id)
            claims = await two.claims(found)
            return found.state is SandboxState.RUNNING and set(claims) == {"beta"}

        await two.world.until(there, within=600, what="it runs on beta")
    assert await two.left_on("alpha") == []
    assert {role for _, role in await two.roles(before)} == {VolumeRole.OVERLAY, VolumeRole.SEED}
    await two.world.assert_ledger()
