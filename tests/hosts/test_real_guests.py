"""What only real QEMU proves: addresses, shutdown, a hung process, the probe of KVM."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import libvirt
import pytest

from scheduler.errors import HostUnreachable
from scheduler.guests.seed import seed_iso
from scheduler.hosts import DomainPlan
from scheduler.hosts.accelerators import runs_to_its_end
from scheduler.hosts.deadlines import Verb
from scheduler.hosts.handles import Handle
from scheduler.hosts.tunnel import SshTunnel
from scheduler.model.hosts import VirtType
from scheduler.model.observations import DomainState, StateReason
from scheduler.model.sandboxes import IpSource
from tests.fleet.fleet import Fleet
from tests.hosts import subjects
from tests.hosts.interleaved import interleaved
from tests.hosts.subjects import Subject, on_libvirt
from tests.waits import until_answer

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(900)]

SMALL_MB = 128
BOOT_SECONDS = 240
PROBE_SECONDS = 240
"""A hundred times what it takes under emulation: other guests run beside it."""


@pytest.fixture
async def subject(one_host: Fleet, tmp_path: Path) -> AsyncIterator[Subject]:
    async with subjects.real(tmp_path, one_host["h1"], one_host.access) as made:
        made.image = "small.qcow2"
        yield made


async def boot(subject: Subject, public_key: str) -> tuple[DomainPlan, str]:
    """Build and start a guest; return its plan and address."""
    driver, plan = subject.driver, subject.plan()
    await driver.create_overlay(
        plan.overlay, await driver.inspect_base(subject.image), SMALL_MB * 2
    )
    sandbox_id = str(plan.mark_document["sandbox_id"])
    seed = seed_iso(sandbox_id, plan.name, [public_key])
    assert await driver.create_seed(plan.seed or "", seed)
    await driver.define(plan)
    await driver.start(plan.uuid)

    async def known() -> bool:
        told = await driver.addresses(plan.uuid, plan.mac, plan.network)
        return told.address is not None

    await until_answer(known, seconds=BOOT_SECONDS, what="the address of a booted guest")
    told = await driver.addresses(plan.uuid, plan.mac, plan.network)
    assert told.source is IpSource.LEASE
    return plan, str(told.address)


async def test_a_guest_boots_with_its_seed_and_shuts_down_when_asked(
    subject: Subject, one_host: Fleet
) -> None:
    plan, address = await boot(subject, one_host.access.public_key)
    assert address in one_host["h1"].virsh("domifaddr", plan.name)

    async def greeted() -> bool:
        tunnel = subject.driver._route  # type: ignore[attr-defined]
        assert isinstance(tunnel, SshTunnel)
        try:
            reader, writer = await tunnel.open_connection(address, 22)
        except HostUnreachable:
            return False
        greeting = await reader.readline()
        writer.close()
        return greeting.startswith(b"SSH-2.0")

    await until_answer(
        greeted, seconds=BOOT_SECONDS, what="the guest's sshd, by the jump over its host"
    )
    await subject.driver.shutdown(plan.uuid)

    async def down() -> bool:
        found = await subject.driver.domain(plan.uuid)
        return found is not None and found.state is DomainState.SHUT_OFF

    await until_answer(down, seconds=BOOT_SECONDS, what="a guest that obeys ACPI")
    found = await subject.driver.domain(plan.uuid)
    assert found is not None
    assert found.reason is StateReason.GUEST_SHUTDOWN


async def test_a_hung_qemu_costs_neither_the_look_at_its_host_nor_its_own_end(
    subject: Subject, one_host: Fleet
) -> None:
    plan = subject.plan()
    subject.image = subjects.IMAGE
    await subject.build(plan)
    await subject.driver.start(plan.uuid)
    one_host["h1"].suspend_guest(plan.name)
    # What waited for QEMU would not come back before the call's own deadline.
    inventory = await subject.driver.inventory()
    assert [found.uuid for found in inventory.domains] == [plan.uuid]
    await subject.driver.power_off(plan.uuid)
    found = await subject.driver.domain(plan.uuid)
    assert found is not None
    assert found.state is DomainState.SHUT_OFF


async def test_the_probe_machine_ends_by_itself_where_guests_run(subject: Subject) -> None:
    def probe(handle: Handle) -> None:
        assert runs_to_its_end(handle.conn, VirtType.QEMU, PROBE_SECONDS)

    await on_libvirt(subject.driver, probe, Verb.SNAPSHOT)


async def test_a_probe_machine_that_goes_on_is_ended(subject: Subject, one_host: Fleet) -> None:
    def paused(method: Callable[..., object], xml: str, flags: int) -> object:
        return method(xml, flags | libvirt.VIR_DOMAIN_START_PAUSED)  # else it ends, given time

    def probe(handle: Handle) -> None:
        halted = interleaved(handle, {"createXML": paused})
        assert not runs_to_its_end(halted.conn, VirtType.QEMU, 0.001)

    await on_libvirt(subject.driver, probe)
    assert "sandboxd-probe" not in one_host["h1"].virsh("list", "--all")
