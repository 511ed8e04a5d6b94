"""Faults of a real host behind ssh: libvirtd, sshd, its pool and hostile images."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from scheduler.clock import SystemClock
from scheduler.errors import HostError, HostRefused, HostUnreachable
from scheduler.hosts import Drivers, HostDriver, ObjectBusy
from scheduler.hosts.libvirt_driver import LibvirtDriver
from scheduler.hosts.tunnel import SshTunnel
from scheduler.model.observations import DomainState
from tests.fleet.fleet import Fleet
from tests.fleet.host import IMAGES, Host
from tests.hosts import subjects
from tests.hosts.subjects import Subject
from tests.hosts.test_image_header import qcow2
from tests.waits import until_answer

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(900)]

COPY_SECONDS = 600
"""A hundred times what everything else takes that is done while a disk is copied."""


@pytest.fixture
def host(one_host: Fleet) -> Host:
    return one_host["h1"]


@pytest.fixture
async def subject(one_host: Fleet, host: Host, tmp_path: Path) -> AsyncIterator[Subject]:
    async with subjects.real(tmp_path, host, one_host.access) as made:
        yield made


async def answers(driver: HostDriver) -> bool:
    try:
        await driver.inventory()
    except HostError:
        return False
    return True


async def test_a_restarted_libvirtd_is_found_again_with_its_running_guests(
    subject: Subject, host: Host
) -> None:
    plan = subject.plan()
    await subject.build(plan)
    await subject.driver.start(plan.uuid)
    host.stop_libvirtd()
    with pytest.raises(HostUnreachable):
        await subject.driver.inventory()
    host.start_libvirtd()
    await until_answer(lambda: answers(subject.driver), what="the restarted libvirtd")
    found = await subject.driver.domain(plan.uuid)
    assert found is not None
    assert found.state is DomainState.RUNNING
    assert found.mark is not None


async def test_a_hung_qemu_is_still_looked_up_and_powered_off(subject: Subject, host: Host) -> None:
    plan = subject.plan()
    await subject.build(plan)
    await subject.driver.start(plan.uuid)
    host.suspend_guest(plan.name)
    hung = asyncio.create_task(subject.driver.shutdown(plan.uuid))

    async def asked() -> bool:
        return host.virsh("domcontrol", plan.name).strip() != "ok"

    await until_answer(asked, what="QEMU to be asked")
    hung.cancel()
    await asyncio.wait({hung})
    assert hung.cancelled()
    with pytest.raises(HostUnreachable, match="still hangs"):
        await subject.driver.shutdown(plan.uuid)
    found = await subject.driver.domain(plan.uuid)
    assert found is not None
    assert found.state is DomainState.RUNNING
    await subject.driver.power_off(plan.uuid)
    assert host.virsh("domstate", plan.name).strip() == "shut off"


@pytest.mark.parametrize("made", [True, False])
async def test_a_snapshot_that_a_dead_daemon_began_is_not_taken_for_made(
    subject: Subject, host: Host, tmp_path: Path, made: bool
) -> None:
    """Its QEMU is at it still, or fails after all: libvirt lists it all the while."""
    plan = subject.plan()
    await subject.build(plan)
    await subject.driver.start(plan.uuid)
    host.suspend_guest(plan.name)
    dying = asyncio.create_task(subject.driver.take_snapshot(plan.uuid, "s"))

    async def listed() -> bool:
        return "s" in host.virsh("snapshot-list", "--name", plan.name)

    await until_answer(listed, what="the snapshot to be begun")
    dying.cancel()
    async with next_daemon(subject, tmp_path) as driver:
        with pytest.raises(ObjectBusy, match="being made still"):
            await driver.take_snapshot(plan.uuid, "s")
        if made:
            host.resume_guest(plan.name)
        else:
            await driver.power_off(plan.uuid)

        async def taken() -> bool:
            try:
                return await driver.take_snapshot(plan.uuid, "s") is made
            except ObjectBusy:
                return False

        await until_answer(taken, what="the snapshot to be made")
        await driver.power_off(plan.uuid)
    kept = host.run("qemu-img", "snapshot", "-l", f"{IMAGES}/{plan.overlay}")
    assert [line.split()[1] for line in kept.splitlines()[2:]] == ["s"]


@pytest.mark.parametrize("made", [True, False])
async def test_a_layer_that_a_dead_daemon_freezes_onto_is_not_deleted(
    subject: Subject, host: Host, tmp_path: Path, made: bool
) -> None:
    """The file is there, and QEMU puts the guest on it when it comes to; or it never does."""
    plan = subject.plan()
    layer = f"{plan.name}-l1.qcow2"
    await subject.build(plan)
    await subject.driver.start(plan.uuid)
    host.suspend_guest(plan.name)
    dying = asyncio.create_task(subject.driver.freeze(plan.uuid, layer))

    async def begun() -> bool:
        return "async='snapshot'" in host.run("cat", f"/run/libvirt/qemu/{plan.name}.xml")

    await until_answer(begun, what="the freezing to begin")
    host.run("touch", f"{IMAGES}/{layer}")
    dying.cancel()
    await asyncio.wait({dying})
    with pytest.raises(HostUnreachable, match="still hangs"):
        await subject.driver.freeze(plan.uuid, layer)
    async with next_daemon(subject, tmp_path) as driver:
        for attempt in (driver.settled_layer(plan.uuid), driver.freeze(plan.uuid, layer)):
            with pytest.raises(ObjectBusy, match="worked on still"):
                await attempt
        if made:
            host.resume_guest(plan.name)
        else:
            await driver.power_off(plan.uuid)

        async def settled() -> bool:
            try:
                live = await driver.settled_layer(plan.uuid)
            except ObjectBusy:
                return False
            return live == (layer if made else plan.overlay)

        await until_answer(settled, what="the job's end")
        await driver.refresh_pool()
        assert await driver.freeze(plan.uuid, layer) is False
        await driver.power_off(plan.uuid)
    assert layer in host.run("ls", IMAGES)


async def test_i8_a_host_does_everything_else_while_it_copies_a_disk(
    subject: Subject, host: Host
) -> None:
    driver, plan = subject.driver, subject.plan()
    await driver.volume(subject.image)
    still = (await driver.inventory()).pool
    with slow_copies(host) as begun:
        copying = asyncio.create_task(driver.flatten_volume(subject.image, "flat.qcow2"))
        await until_answer(lambda: asyncio.to_thread(begun.exists), what="the copy to begin")
        host.run("truncate", "--size=50M", f"{IMAGES}/flat.qcow2")
        host.run("fallocate", "--length=50M", f"{IMAGES}/flat.qcow2")
        pool = (await driver.inventory()).pool
        assert pool is not None
        assert still is not None
        assert pool.allocation == still.allocation, "what is there of the copy is not among it"
        assert [v.physical for v in pool.volumes if v.name == "flat.qcow2"] == [50 * 2**20]
        async with asyncio.timeout(COPY_SECONDS):
            await driver.ensure_pool()
            await subject.build(plan)
            await driver.start(plan.uuid)
            await driver.power_off(plan.uuid)
            await driver.undefine(plan.uuid)
            for name in (plan.overlay, plan.seed or ""):
                await driver.delete_volume(name)
            assert await driver.volume(plan.overlay) is None
            with pytest.raises(ObjectBusy, match="asynchronous jobs"):
                await driver.volumes_absent([plan.overlay])
            assert (await driver.inventory()).pool is not None
        assert not copying.done()
    await copying
    assert await driver.volumes_absent([plan.overlay]) is True
    assert (await driver.inspect_base("flat.qcow2")).format == "qcow2"


@contextmanager
def slow_copies(host: Host) -> Iterator[Path]:
    """Have the host's libvirt wait whenever it copies a disk; yields what is there once it does."""
    for command in (
        "cp /usr/bin/qemu-img /run/real-qemu-img; mkfifo /run/gate",
        "echo '#!/bin/sh' >/run/qemu-img",
        "echo '[ $1 != convert ] || { : >/run/begun; cat /run/gate; }' >>/run/qemu-img",
        """echo 'exec /run/real-qemu-img "$@"' >>/run/qemu-img""",
        "chmod 755 /run/qemu-img; mount --bind /run/qemu-img /usr/bin/qemu-img",
    ):
        host.run("sh", "-c", command)
    try:
        yield host.file("/run/begun")
    finally:
        # The script is open while its gate is closed, so that a plain umount is refused.
        host.run("umount", "--lazy", "/usr/bin/qemu-img")
        host.run("sh", "-c", "[ ! -e /run/begun ] || : >/run/gate")


@asynccontextmanager
async def next_daemon(subject: Subject, directory: Path) -> AsyncIterator[HostDriver]:
    """Yield what another daemon would have of the same host."""
    assert isinstance(subject.driver, LibvirtDriver)
    sockets = directory / "next"
    async with Drivers.open(sockets, subject.keyring, SystemClock(), lambda _: None) as drivers:
        yield drivers.get(subject.driver._host)


async def test_a_lost_ssh_connection_is_made_anew(subject: Subject, host: Host) -> None:
    await subject.driver.inventory()
    tunnel = subject.driver._route  # type: ignore[attr-defined]
    assert isinstance(tunnel, SshTunnel)
    assert tunnel._connection is not None
    host.stop_sshd()
    tunnel._connection.abort()
    with pytest.raises(HostUnreachable):
        await subject.driver.inventory()
    host.start_sshd()
    await until_answer(lambda: answers(subject.driver), what="the restarted sshd")


async def test_a_stopped_pool_is_seen_and_started(subject: Subject, host: Host) -> None:
    await subject.driver.inventory()
    host.virsh("pool-destroy", "default")
    stopped = await subject.driver.inventory()
    assert stopped.pool is not None
    assert not stopped.pool.active
    with pytest.raises(HostRefused, match="not active"):
        await subject.driver.volume(subject.image)
    await subject.driver.ensure_pool()
    started = await subject.driver.inventory()
    assert started.pool is not None
    assert started.pool.active
    assert subject.image in {volume.name for volume in started.pool.volumes}


async def test_a_pool_whose_directory_was_away_is_back_after_a_refresh(
    subject: Subject, host: Host
) -> None:
    host.run("mv", IMAGES, f"{IMAGES}.away")
    with pytest.raises(HostRefused):
        await subject.driver.refresh_pool()
    gone = await subject.driver.inventory()
    assert gone.pool is not None
    assert not gone.pool.active
    with pytest.raises(HostRefused):
        await subject.driver.volumes_absent([subject.image])
    host.run("mv", f"{IMAGES}.away", IMAGES)
    await subject.driver.refresh_pool()
    assert await subject.driver.volume(subject.image) is not None


async def test_an_image_put_there_by_hand_is_seen_after_a_refresh(
    subject: Subject, host: Host
) -> None:
    host.file(f"{IMAGES}/by-hand.qcow2").write_bytes(qcow2())
    assert await subject.driver.volume("by-hand.qcow2") is None
    assert await subject.driver.volumes_absent(["by-hand.qcow2"]) is False
    base = await subject.driver.inspect_base("by-hand.qcow2")
    assert (base.format, base.capacity) == ("qcow2", 2**30)
    changed = host.file(f"{IMAGES}/by-hand.qcow2")
    changed.write_bytes(qcow2(capacity=2**31))
    assert (await subject.driver.inspect_base("by-hand.qcow2")).fingerprint != base.fingerprint


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (qcow2(backing=104)[:4096] + b"/etc/hostname", "backing file"),
        (qcow2(incompatible=1 << 2), "data file"),
        (qcow2(encryption=1), "encrypted"),
        (b"KDMV" + bytes(65536), "VMDK"),
        (b"LUKS\xba\xbe" + struct.pack(">H", 1) + bytes(65536), "LUKS"),
    ],
)
async def test_a_hostile_image_is_refused_by_its_own_bytes(
    subject: Subject, host: Host, content: bytes, why: str
) -> None:
    host.file(f"{IMAGES}/hostile.img").write_bytes(content)
    await subject.driver.refresh_pool()
    with pytest.raises(HostRefused, match=why):
        await subject.driver.inspect_base("hostile.img")


async def test_a_raw_image_is_cloned_as_raw(subject: Subject, host: Host) -> None:
    host.file(f"{IMAGES}/raw.img").write_bytes(b"QFI" + bytes(2**20 - 3))
    await subject.driver.refresh_pool()
    base = await subject.driver.inspect_base("raw.img")
    assert (base.format, base.capacity) == ("raw", 2**20)
    plan = subject.plan()
    await subject.driver.create_overlay(plan.overlay, base, 8)
    await subject.driver.create_seed(plan.seed or "", bytes(4096))
    await subject.driver.define(plan)
    assert "<format type='raw'/>" in host.virsh("dumpxml", plan.name)
    await subject.driver.start(plan.uuid)


async def test_a_seed_arrives_byte_by_byte_and_again_over_a_torn_one(
    subject: Subject, host: Host
) -> None:
    content = bytes(range(256)) * 8192
    for sent in (b"\1" * 4096, content, content[::-1]):
        assert await subject.driver.create_seed("seed.iso", sent)
        assert host.file(f"{IMAGES}/seed.iso").read_bytes() == sent


async def test_a_domain_with_all_that_libvirt_keeps_beside_it_leaves_nothing(
    subject: Subject, host: Host
) -> None:
    plan = subject.plan()
    await subject.build(plan)
    await subject.driver.start(plan.uuid)
    host.virsh("managedsave", plan.name)
    await subject.driver.undefine(plan.uuid)
    assert plan.name not in host.virsh("list", "--all")
    assert host.run("ls", "/var/lib/libvirt/qemu/save").split() == []
