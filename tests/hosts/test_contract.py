"""What every driver does: one suite for the fake, libvirt's test driver and real hosts."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from scheduler.errors import HostRefused
from scheduler.hosts import ObjectAbsent
from scheduler.hosts.plans import NewReplica
from scheduler.model.observations import DomainState, Listening, StateReason
from tests.hosts import images
from tests.hosts.subjects import IMAGE_MB, Subject
from tests.waits import until, until_answer


async def test_an_inventory_tells_the_whole_host(subject: Subject) -> None:
    inventory = await subject.driver.inventory()
    assert inventory.host_id == subject.host_id
    assert inventory.host_uuid is not None
    assert inventory.arch == "x86_64" or subject.pool == "default-pool"
    assert inventory.total_cpus > 0
    assert inventory.total_memory_mb > 0
    assert inventory.virt_type is subject.virt_type
    assert inventory.networks[subject.network] is True
    assert inventory.pool is not None
    assert inventory.pool.active
    assert inventory.pool.capacity > inventory.pool.available > 0
    image = next(found for found in inventory.pool.volumes if found.name == subject.image)
    assert image.capacity == IMAGE_MB * 2**20
    assert image.physical > 0
    assert image.backing is None


async def test_two_inventories_of_an_unchanged_host_agree(subject: Subject) -> None:
    first, second = await subject.driver.inventory(), await subject.driver.inventory()
    assert second.begun_at > first.begun_at
    assert second.domains == first.domains
    assert second.pool == first.pool


async def test_a_life_from_nothing_to_nothing_with_each_step_twice(subject: Subject) -> None:
    driver, plan = subject.driver, subject.plan()
    for _ in range(2):
        await subject.make_volumes(plan)
    for _ in range(2):
        await driver.define(plan)
    defined = await driver.domain(plan.uuid)
    assert defined is not None
    assert defined.state is DomainState.SHUT_OFF
    assert (defined.name, defined.vcpus, defined.memory_mb) == (plan.name, 1, 128)
    assert defined.mark is not None
    assert defined.mark.sandbox_id == plan.mark_document["sandbox_id"]
    assert defined.mark.document["agent_id"] == "a1"
    for _ in range(2):
        await driver.start(plan.uuid)
    await driver.define(plan)
    running = next(found for found in (await driver.inventory()).domains if found.uuid == plan.uuid)
    assert running.state is DomainState.RUNNING
    assert running.mark == defined.mark
    for _ in range(2):
        await driver.power_off(plan.uuid)
    off = await driver.domain(plan.uuid)
    assert off is not None
    assert (off.state, off.reason) == (DomainState.SHUT_OFF, StateReason.KILLED)
    for _ in range(2):
        await driver.undefine(plan.uuid)
    assert await driver.domain(plan.uuid) is None
    assert await driver.volumes_absent([plan.overlay]) is False
    for _ in range(2):
        await driver.delete_volume(plan.overlay)
        await driver.delete_volume(plan.seed or "")
    assert await driver.volumes_absent([plan.overlay, plan.seed or ""]) is True
    assert await driver.volume(plan.overlay) is None
    assert await driver.volume(subject.image) is not None


async def test_a_guest_that_shuts_down_says_so(subject: Subject) -> None:
    _needs_guests(subject)
    plan = subject.plan()
    await subject.build(plan)
    await subject.driver.start(plan.uuid)
    for _ in range(2):
        await subject.driver.shutdown(plan.uuid)
    found = await subject.driver.domain(plan.uuid)
    assert found is not None
    assert (found.state, found.reason) == (DomainState.SHUT_OFF, StateReason.GUEST_SHUTDOWN)


async def test_an_address_is_given_for_the_recorded_mac_only(subject: Subject) -> None:
    _needs_guests(subject)
    plan = subject.plan()
    await subject.build(plan)
    await subject.driver.start(plan.uuid)
    told = await subject.driver.addresses(plan.uuid, plan.mac, plan.network)
    assert told.address is not None
    assert told.source is not None
    assert told.said[told.source.value] == told.address
    other = await subject.driver.addresses(plan.uuid, "52:54:00:00:00:01", plan.network)
    assert other.address is None
    assert "knows no address" in other.said["lease"]


async def test_consoles_of_ours_are_listened_to_without_force_and_let_go_of(
    subject: Subject,
) -> None:
    driver, plan, foreign = subject.driver, subject.plan(), str(uuid4())
    assert await driver.listen(()) == {}
    await subject.build(plan)
    await subject.plant(foreign, "somebody-elses", None)
    off = await driver.listen([plan.uuid, foreign])
    if not subject.streams:
        assert {one.listening for one in off.values()} == {Listening.UNSUPPORTED}
        assert all(one.why for one in off.values())
        return
    assert (off[plan.uuid].listening, off[plan.uuid].opened) == (Listening.OFF, False)
    assert off[foreign].listening is Listening.REFUSED
    assert "mark" in (off[foreign].why or "")
    await driver.start(plan.uuid)
    opened = (await driver.listen([plan.uuid]))[plan.uuid]
    assert (opened.listening, opened.opened) == (Listening.OPEN, True)
    again = (await driver.listen([plan.uuid]))[plan.uuid]
    assert (again.listening, again.opened) == (Listening.OPEN, False)
    assert set(await driver.listen(())) == {plan.uuid}
    assert await driver.listen(()) == {}
    anew = (await driver.listen([plan.uuid]))[plan.uuid]
    assert (anew.listening, anew.opened) == (Listening.OPEN, True)
    await driver.power_off(plan.uuid)

    async def ended() -> bool:
        heard = (await driver.listen([plan.uuid]))[plan.uuid]
        return heard.listening is Listening.OFF

    await until_answer(ended, what="the end of the console of a domain that is off")
    nobody = str(uuid4())
    assert (await driver.listen([nobody]))[nobody].listening is Listening.OFF


async def test_changes_are_hinted(subject: Subject) -> None:
    await subject.driver.inventory()
    plan = subject.plan()
    await subject.build(plan)
    await until(lambda: subject.host_id in subject.hints, what="a hint of the definition")


async def test_a_foreign_domain_is_seen_and_never_touched(subject: Subject) -> None:
    driver, uuid = subject.driver, str(uuid4())
    await subject.plant(uuid, "somebody-elses", None)
    before = await driver.domain(uuid)
    assert before is not None
    assert before.mark is None
    assert not before.forged
    assert before.memory_mb > 0
    verbs = (driver.start, driver.shutdown, driver.resume, driver.power_off, driver.undefine)
    for verb in verbs:
        with pytest.raises(HostRefused, match="mark"):
            await verb(uuid)
    assert await driver.domain(uuid) == before
    looked_at = await driver.foreign_machine(uuid)
    assert looked_at is not None
    assert (looked_at.uuid, looked_at.name) == (uuid, "somebody-elses")
    assert looked_at.state is DomainState.RUNNING
    assert (looked_at.addresses, looked_at.disks, looked_at.disk) == ((), 0, None)


async def test_what_is_ours_or_not_there_is_no_foreign_machine(subject: Subject) -> None:
    plan, thief = subject.plan(), str(uuid4())
    await subject.build(plan)
    await subject.plant(thief, "thief", subject.keyring.sign(plan.mark_document))
    for uuid in (plan.uuid, thief, str(uuid4())):
        assert await subject.driver.foreign_machine(uuid) is None


async def test_a_mark_copied_to_another_domain_is_forged(subject: Subject) -> None:
    driver, plan, uuid = subject.driver, subject.plan(), str(uuid4())
    await subject.plant(uuid, "thief", subject.keyring.sign(plan.mark_document))
    thief = next(found for found in (await driver.inventory()).domains if found.uuid == uuid)
    assert thief.forged
    assert thief.mark is None
    with pytest.raises(HostRefused, match="mark"):
        await driver.power_off(uuid)


async def test_a_foreign_domain_with_our_uuid_is_not_replaced(subject: Subject) -> None:
    plan = subject.plan()
    await subject.make_volumes(plan)
    await subject.plant(plan.uuid, "squatter", None)
    with pytest.raises(HostRefused, match="mark"):
        await subject.driver.define(plan)
    found = await subject.driver.domain(plan.uuid)
    assert found is not None
    assert found.name == "squatter"


async def test_a_name_that_is_taken_is_refused(subject: Subject) -> None:
    plan, uuid = subject.plan(), str(uuid4())
    await subject.plant(uuid, plan.name, None)
    await subject.make_volumes(plan)
    with pytest.raises(HostRefused):
        await subject.driver.define(plan)
    assert await subject.driver.domain(plan.uuid) is None
    assert await subject.driver.domain(uuid) is not None


async def test_a_running_domain_is_not_undefined(subject: Subject) -> None:
    plan = subject.plan()
    await subject.build(plan)
    await subject.driver.start(plan.uuid)
    with pytest.raises(HostRefused, match="runs"):
        await subject.driver.undefine(plan.uuid)
    found = await subject.driver.domain(plan.uuid)
    assert found is not None
    assert found.state is DomainState.RUNNING


async def test_what_is_absent_is_absent_and_no_error_to_remove(subject: Subject) -> None:
    driver, uuid = subject.driver, str(uuid4())
    assert await driver.domain(uuid) is None
    assert await driver.volume("none.qcow2") is None
    for verb in (driver.shutdown, driver.resume, driver.power_off, driver.undefine):
        await verb(uuid)
    await driver.delete_volume("none.qcow2")
    with pytest.raises(ObjectAbsent):
        await driver.start(uuid)
    with pytest.raises(ObjectAbsent):
        await driver.inspect_base("none.qcow2")


async def test_of_no_volumes_none_is_there(subject: Subject) -> None:
    assert await subject.driver.volumes_absent([]) is True


async def test_a_domain_is_not_defined_before_its_volumes(subject: Subject) -> None:
    plan = subject.plan()
    with pytest.raises(ObjectAbsent):
        await subject.driver.define(plan)
    assert await subject.driver.domain(plan.uuid) is None


async def test_a_mark_for_another_domain_is_not_put_on(subject: Subject) -> None:
    plan, other = subject.plan(), subject.plan()
    await subject.make_volumes(plan)
    with pytest.raises(HostRefused, match="mark"):
        await subject.driver.define(subject.plan(mark_document=other.mark_document))


async def test_a_disk_smaller_than_its_image_is_not_made(subject: Subject) -> None:
    base = await subject.driver.inspect_base(subject.image)
    with pytest.raises(HostRefused, match="smaller"):
        await subject.driver.create_overlay("too-small.qcow2", base, IMAGE_MB - 1)
    assert await subject.driver.volume("too-small.qcow2") is None


async def test_another_volume_of_the_name_is_not_taken_for_ours(subject: Subject) -> None:
    base = await subject.driver.inspect_base(subject.image)
    await subject.driver.create_overlay("mine.qcow2", base, IMAGE_MB)
    with pytest.raises(HostRefused, match="another volume"):
        await subject.driver.create_overlay("mine.qcow2", base, IMAGE_MB + 1)
    kept = await subject.driver.volume("mine.qcow2")
    assert kept is not None
    assert kept.capacity == IMAGE_MB * 2**20
    assert kept.backing == base.path


async def test_an_overlay_is_no_golden_image(subject: Subject) -> None:
    base = await subject.driver.inspect_base(subject.image)
    await subject.driver.create_overlay("layer.qcow2", base, IMAGE_MB)
    with pytest.raises(HostRefused, match="another file"):
        await subject.driver.inspect_base("layer.qcow2")


async def test_the_pool_is_started_and_refreshed(subject: Subject) -> None:
    for _ in range(2):
        await subject.driver.ensure_pool()
        await subject.driver.refresh_pool()
    inventory = await subject.driver.inventory()
    assert inventory.pool is not None
    assert inventory.pool.active


async def test_a_guest_that_somebody_paused_is_not_resumed(subject: Subject) -> None:
    driver, plan = subject.driver, subject.plan()
    await subject.build(plan)
    await driver.resume(plan.uuid)
    off = await driver.domain(plan.uuid)
    assert off is not None
    assert off.state is DomainState.SHUT_OFF
    await driver.start(plan.uuid)
    await driver.resume(plan.uuid)
    await subject.pause(plan.uuid)
    await driver.resume(plan.uuid)
    paused = await driver.domain(plan.uuid)
    assert paused is not None
    assert (paused.state, paused.reason) == (DomainState.PAUSED, StateReason.USER)


def _needs_guests(subject: Subject) -> None:
    if not subject.has_guests:
        pytest.skip("its machines have empty disks; see test_real_guests")


async def test_a_replica_is_given_bytes_and_gives_them_back(
    subject: Subject, tmp_path: Path
) -> None:
    body = images.sound(tmp_path / "image").read_bytes()
    name = f"image-{'0' * 64}"
    shape = NewReplica(format="qcow2", size=len(body), capacity=16 * images.MIB)
    takes_bytes = False
    for _ in range(2):  # the second in place of what the first left
        takes_bytes = await subject.driver.create_replica(name, shape)
    assert takes_bytes is subject.streams
    if takes_bytes:
        half = len(body) // 2
        await subject.driver.write_volume(name, half, body[half:])
        for _ in range(2):
            await subject.driver.write_volume(name, 0, body[:half])
        assert await subject.driver.read_volume(name, 0, 2 * len(body)) == body
        assert await subject.driver.read_volume(name, half, 10) == body[half : half + 10]
        assert await subject.driver.read_volume(name, len(body), 10) == b""
    else:
        assert await subject.driver.read_volume(name, 0, 10) is None
    await subject.driver.refresh_pool()
    base = await subject.driver.inspect_base(name)
    assert (base.format, base.capacity) == ("qcow2", 16 * images.MIB)
    overlay = f"sbx-{uuid4()}.qcow2"
    await subject.driver.create_overlay(overlay, base, 16)
    clone = await subject.driver.volume(overlay)
    assert clone is not None
    assert clone.backing == base.path
    for volume in (overlay, name):
        await subject.driver.delete_volume(volume)
    assert await subject.driver.volumes_absent([overlay, name])
    with pytest.raises(ObjectAbsent if takes_bytes else HostRefused):
        await subject.driver.inspect_base(name)


async def test_a_volume_tells_which_running_machine_has_it_for_a_disk(subject: Subject) -> None:
    plan = subject.plan()
    await subject.build(plan)
    assert await subject.driver.users_of(plan.overlay) == ()
    await subject.driver.start(plan.uuid)
    assert await subject.driver.users_of(plan.overlay) == (plan.name,)
    assert await subject.driver.users_of(subject.image) == ()
    await subject.driver.power_off(plan.uuid)
    assert await subject.driver.users_of(plan.overlay) == ()
    with pytest.raises(ObjectAbsent):
        await subject.driver.users_of("missing.qcow2")


async def test_a_flattened_volume_depends_on_nothing(subject: Subject) -> None:
    driver = subject.driver
    base = await driver.inspect_base(subject.image)
    await driver.create_overlay("layered.qcow2", base, IMAGE_MB + 1)
    await driver.create_layer("live.qcow2", "layered.qcow2")
    for source in ("live.qcow2", "layered.qcow2"):  # the second in place of what the first made
        await driver.flatten_volume(source, "flat.qcow2")
        assert (await driver.inspect_base("flat.qcow2")).capacity == (IMAGE_MB + 1) * 2**20
    flat = await driver.inspect_base("flat.qcow2")
    assert (flat.format, flat.capacity) == ("qcow2", (IMAGE_MB + 1) * 2**20)
    layered = await driver.volume("layered.qcow2")
    assert layered is not None
    assert layered.backing == base.path
    with pytest.raises(ObjectAbsent):
        await driver.flatten_volume("missing.qcow2", "other.qcow2")
    assert await driver.volume("other.qcow2") is None
    for name in ("live.qcow2", "layered.qcow2", "flat.qcow2"):
        await driver.delete_volume(name)


async def test_no_part_of_a_volume_that_is_not_there_is_written_or_read(subject: Subject) -> None:
    if not subject.streams:
        pytest.skip("takes no bytes at all")
    with pytest.raises(ObjectAbsent):
        await subject.driver.write_volume("image-missing", 0, b"x")
    with pytest.raises(ObjectAbsent):
        await subject.driver.read_volume("image-missing", 0, 1)
