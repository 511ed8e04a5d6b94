"""A host that is only busy refuses nothing: no try is counted, and no breaker hears of it."""

from __future__ import annotations

import libvirt
import pytest

from scheduler.errors import HostRefused
from scheduler.hosts import ObjectBusy
from scheduler.hosts.failures import translate
from scheduler.lifecycle.steps import ConditionKind
from scheduler.model import Phase, SandboxState
from scheduler.service.intents import Intent
from tests.control.world import ME, World
from tests.hosts.fake import FakeDriver
from tests.hosts.interleaved import libvirt_error

MESSAGE = "cannot acquire state change lock (held by monitor=remoteDispatchDomainGetBlockInfo)"


def driver_of(world: World) -> FakeDriver:
    (driver,) = world.drivers.by_host.values()
    assert isinstance(driver, FakeDriver)
    return driver


def locked() -> ObjectBusy:
    """Return what a call becomes that did not get its turn at a domain for half a minute."""
    error = libvirt_error(libvirt.VIR_FROM_QEMU, libvirt.VIR_ERR_OPERATION_TIMEOUT, MESSAGE)
    busy = translate(error, host="alpha", doing="start a domain", alive=True)
    assert isinstance(busy, ObjectBusy)
    return busy


@pytest.mark.parametrize(
    ("verb", "phase"), [("define", Phase.BUILD), ("ensure_pool", Phase.BUILD), ("start", None)]
)
async def test_it_is_asked_again_and_no_try_is_counted(
    there: World, verb: str, phase: Phase | None
) -> None:
    driver_of(there).fail(verb, locked(), times=7)
    made = await there.create()
    for _ in range(7):
        pause = await there.converger.converge(made.id)
        assert pause == pytest.approx(5.0)
        waiting = await there.sandbox(made.id)
        assert (waiting.phase, waiting.attempts) == (phase or Phase.START, 0)
        (told,) = waiting.conditions
        assert (told.kind, MESSAGE in told.message) == (ConditionKind.FAILING, True)
        there.clock.advance(pause or 0)
    await there.settle(made.id)
    up = await there.sandbox(made.id)
    assert (up.state, up.conditions) == (SandboxState.RUNNING, ())
    assert (await there.host()).breakers == ()


async def test_it_is_waited_for_as_long_as_the_sandbox_may_take(there: World) -> None:
    driver_of(there).fail("start", locked(), times=10_000)
    for _ in range(3):
        await there.look()
        made = await there.create()
        await there.settle(made.id)
        failed = await there.sandbox(made.id)
        assert (failed.state, failed.reason_code) == (SandboxState.ERROR, "provision_timeout")
        assert MESSAGE in (failed.reason_message or "")
    assert (await there.host()).breakers == ()


async def test_a_refusal_beside_it_is_counted_as_ever(there: World) -> None:
    driver = driver_of(there)
    made = await there.create()
    for error in (HostRefused("no"), locked(), HostRefused("no"), locked()):
        driver.fail("define", error)
        there.clock.advance(await there.converger.converge(made.id) or 0)
    assert (await there.sandbox(made.id)).attempts == 2
    driver.fail("define", HostRefused("no"))
    await there.settle(made.id)
    assert (await there.sandbox(made.id)).reason_code == "build_failed"


async def test_what_is_torn_down_waits_longer_and_says_for_what(there: World) -> None:
    made = await there.created()
    await there.services.sandboxes.destroy(made.id, Intent(actor=ME))
    driver_of(there).fail("volumes_absent", ObjectBusy("the pool has asynchronous jobs running"))
    assert await there.converger.converge(made.id) == pytest.approx(30.0)
    (told,) = (await there.sandbox(made.id)).conditions
    assert "asynchronous jobs" in told.message
    there.clock.advance(30)
    await there.settle(made.id)
    assert (await there.sandbox(made.id)).state is SandboxState.DESTROYED
