"""A replaced machine is refused until it is accepted; then it is looked at like any other."""

from __future__ import annotations

from uuid import uuid4

from scheduler.model import HostHealth, HostResources, SandboxState
from scheduler.service.intents import Intent
from tests.control.world import IMAGE, ME, World
from tests.hosts.fake import FakeDriver, FakeHost

INTENT: Intent[HostResources] = Intent(actor=ME)


def replace_machine(there: World, host: HostResources) -> FakeDriver:
    """Put an empty machine in the host's place."""
    machine = FakeHost(host_id=host.id, host_uuid=str(uuid4()))
    machine.add_image(IMAGE, 1024, 8)
    driver = FakeDriver(machine, there.keyring, there.clock)
    there.drivers.by_host[host.id] = driver
    return driver


async def test_what_was_on_the_old_machine_is_lost_once_the_new_one_is_accepted(
    there: World,
) -> None:
    made = await there.created()
    before = await there.host()
    driver = replace_machine(there, before)
    for _ in range(3):
        refused = (await there.look()).host
    assert refused.health is HostHealth.DOWN
    assert refused.host_uuid == before.host_uuid
    assert refused.refused_host_uuid == driver.host.host_uuid
    assert driver.host.host_uuid in (refused.health_reason or "")
    assert await there.reconcile() == [made.id], "a condition, and nothing else"
    await there.settle(made.id)
    assert (await there.sandbox(made.id)).state is SandboxState.RUNNING

    await there.services.hosts.accept_identity("alpha", driver.host.host_uuid, INTENT)
    await there.look()
    assert (await there.sandbox(made.id)).state is SandboxState.RUNNING, "one listing is none (I6)"
    assert await there.reconcile() == [made.id]
    await there.settle(made.id)
    lost = await there.sandbox(made.id)
    assert (lost.state, lost.reason_code) == (SandboxState.ERROR, "domain_lost")
    after = await there.host()
    assert (after.health, after.refused_host_uuid) == (HostHealth.UP, None)
    await there.assert_ledger()


async def test_the_right_machine_put_back_needs_nobody(there: World) -> None:
    before = await there.host()
    old = there.drivers.by_host[before.id]
    replace_machine(there, before)
    assert (await there.look()).host.refused_host_uuid is not None
    there.drivers.by_host[before.id] = old
    await there.look()
    after = (await there.look()).host
    assert (after.health, after.refused_host_uuid) == (HostHealth.UP, None)
    assert after.host_uuid == before.host_uuid


async def test_silence_does_not_hide_who_answered_before(there: World) -> None:
    driver = replace_machine(there, await there.host())
    await there.look()
    driver.reachable = False
    assert (await there.look()).host.refused_host_uuid == driver.host.host_uuid
