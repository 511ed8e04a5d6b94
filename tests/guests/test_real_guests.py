"""A guest that boots from our seed, reached as the daemon reaches it: through its host."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from scheduler.clock import SystemClock
from scheduler.errors import GuestUnreachable
from scheduler.guests.authorities import Authorities
from scheduler.guests.connections import GuestConnections
from scheduler.guests.dialling import Dialler
from scheduler.guests.seed import guest_access, seed_iso
from scheduler.hosts import DomainPlan
from scheduler.hosts.drivers import Drivers
from scheduler.hosts.marks import Keyring
from scheduler.ids import mac_address
from scheduler.model import HostResources, Sandbox, Transport, VirtType
from tests.fleet.fleet import Fleet
from tests.guests.sshd import SANDBOX
from tests.waits import until_answer

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(600)]


def record_of(fleet: Fleet, name: str) -> HostResources:
    host, now = fleet[name], SystemClock().now()
    return HostResources(
        id=f"HST-{name}",
        name=name,
        address=host.address,
        transport=Transport.SSH,
        ssh_user="root",
        ssh_key=str(fleet.access.key),
        ssh_known_hosts=str(fleet.access.known_hosts),
        updated_at=now,
    )


@asynccontextmanager
async def booted(
    drivers: Drivers, host: HostResources, authorities: Authorities
) -> AsyncIterator[Sandbox]:
    """Build a guest by its seed and yield its sandbox, its address known."""
    driver, uuid, name = drivers.get(host), uuid4(), f"ssh-{uuid4().hex[:8]}"
    sandbox = replace(SANDBOX, sandbox_name=name, created_at=SystemClock().now())
    plan = DomainPlan(
        uuid=str(uuid),
        name=name,
        vcpus=1,
        memory_mb=128,
        mac=mac_address(uuid),
        network="default",
        virt_type=VirtType.QEMU,
        pool="default",
        overlay=f"{name}.qcow2",
        seed=f"{name}-seed.iso",
        mark_document={"sandbox_id": sandbox.id, "domain_uuid": str(uuid)},
    )
    access = guest_access(authorities.signer, sandbox.id)
    await driver.create_overlay(plan.overlay, await driver.inspect_base("small.qcow2"), 256)
    await driver.create_seed(plan.seed or "", seed_iso(sandbox.id, name, [], access))
    await driver.define(plan)
    try:
        await driver.start(plan.uuid)

        async def known() -> bool:
            return (await driver.addresses(plan.uuid, plan.mac, plan.network)).address is not None

        await until_answer(known, seconds=180, what="the address of a booted guest")
        found = await driver.addresses(plan.uuid, plan.mac, plan.network)
        yield replace(sandbox, ip_address=found.address)
    finally:
        await driver.power_off(plan.uuid)
        await driver.undefine(plan.uuid)
        for volume in (plan.overlay, plan.seed or ""):
            await driver.delete_volume(volume)


async def test_a_guest_is_reached_through_its_host(fleet: Fleet, tmp_path: Path) -> None:
    clock, authorities = SystemClock(), Authorities.open(tmp_path)
    host, keyring = record_of(fleet, "h1"), Keyring.open(tmp_path / "cluster.key", str(uuid4()))
    async with (
        Drivers.open(tmp_path, keyring, clock, lambda _: None) as drivers,
        booted(drivers, host, authorities) as sandbox,
        GuestConnections.open(authorities, clock, dialler=Dialler(drivers.jump)) as pool,
    ):

        async def answers() -> bool:
            async with pool.connected(sandbox, host) as connection:
                return (await connection.run("true")).exit_status == 0

        await until_answer(lambda: told(answers), seconds=180, what="the guest's sshd")
        async with pool.connected(sandbox, host) as connection:
            keys = await connection.run("cat /root/.ssh/authorized_keys; hostname", check=True)
            assert keys.stdout == f"{sandbox.sandbox_name}\n"


async def told(answers: Callable[[], Awaitable[bool]]) -> bool:
    """Return whether a guest answers yet."""
    try:
        return await answers()
    except GuestUnreachable:
        return False
