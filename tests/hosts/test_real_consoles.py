"""Consoles of real guests: their words arrive, an operator's stays theirs, nothing is left open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import libvirt
import pytest
from structlog.testing import capture_logs

from scheduler.errors import HostUnreachable
from scheduler.hosts import DomainPlan, consoles
from scheduler.hosts.libvirt_driver import LibvirtDriver
from scheduler.model.observations import Heard, Listening
from tests.fleet.fleet import Fleet
from tests.hosts import subjects
from tests.hosts.subjects import Subject
from tests.waits import until_answer

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(600)]

SMALL_MB = 256
NO_SEED = b"no NoCloud seed"
"""What the small guest says on its console when it finds no seed: it needs none to boot."""
BOOT_SECONDS = 240


@pytest.fixture
async def subject(one_host: Fleet, tmp_path: Path) -> AsyncIterator[Subject]:
    async with subjects.real(tmp_path, one_host["h1"], one_host.access) as made:
        made.image = "small.qcow2"
        yield made


async def built(subject: Subject) -> DomainPlan:
    """Make a guest that is off."""
    driver, plan = subject.driver, subject.plan()
    base = await driver.inspect_base(subject.image)
    await driver.create_overlay(plan.overlay, base, SMALL_MB)
    assert await driver.create_seed(plan.seed or "", b"\0" * 65536)
    await driver.define(plan)
    return plan


async def heard(subject: Subject, uuid: str) -> Heard:
    return (await subject.driver.listen([uuid]))[uuid]


async def until_said(subject: Subject, uuid: str, text: bytes) -> bytes:
    """Listen until a guest has said this; return all that it said meanwhile."""
    said = bytearray()

    async def there() -> bool:
        said.extend((await heard(subject, uuid)).data)
        return text in said

    await until_answer(there, seconds=BOOT_SECONDS, what=f"{text!r} on the console")
    return bytes(said)


@contextmanager
def operator(one_host: Fleet, uuid: str, flags: int = 0) -> Iterator[libvirt.virStream]:
    """Sit at a guest's console as `virsh console` does, over a connection of one's own."""
    with closing(libvirt.open(one_host["h1"].uri)) as connection:
        stream = connection.newStream(libvirt.VIR_STREAM_NONBLOCK)
        connection.lookupByUUIDString(uuid).openConsole(None, stream, flags)
        try:
            yield stream
        finally:
            with suppress(libvirt.libvirtError):
                stream.abort()


def open_ones(subject: Subject) -> Mapping[str, object]:
    """Return the consoles that the driver has open on its connection."""
    assert isinstance(subject.driver, LibvirtDriver)
    return {
        uuid: stream
        for handle in subject.driver._listening._handles
        for uuid, stream in handle.consoles.items()
    }


async def until_is(
    subject: Subject, uuid: str, listening: Listening, *, seconds: float = 60
) -> Heard:
    """Listen until it stands so with the console."""
    last: list[Heard] = []

    async def stands() -> bool:
        last[:] = [await heard(subject, uuid)]
        return last[0].listening is listening

    await until_answer(stands, seconds=seconds, what=f"a console that is {listening}")
    return last[0]


async def test_a_guest_is_heard_from_its_start_to_its_end(subject: Subject) -> None:
    plan = await built(subject)
    assert (await heard(subject, plan.uuid)).listening is Listening.OFF
    start = asyncio.create_task(subject.driver.start(plan.uuid))
    await until_said(subject, plan.uuid, NO_SEED)
    await start
    await subject.driver.power_off(plan.uuid)
    assert (await until_is(subject, plan.uuid, Listening.OFF)).why is None
    assert open_ones(subject) == {}


async def test_an_operators_console_is_not_taken(subject: Subject, one_host: Fleet) -> None:
    plan = await built(subject)
    await subject.driver.start(plan.uuid)
    with operator(one_host, plan.uuid) as theirs:
        refused = await heard(subject, plan.uuid)
        assert refused.listening is Listening.REFUSED
        assert "Active console session" in (refused.why or "")

        async def said_to_them() -> bool:
            return theirs.recv(1024) not in (-2, b"")

        await until_answer(said_to_them, seconds=BOOT_SECONDS, what="words for the operator")
        assert open_ones(subject) == {}
    assert (await until_is(subject, plan.uuid, Listening.OPEN)).opened
    force = libvirt.VIR_DOMAIN_CONSOLE_FORCE
    with operator(one_host, plan.uuid, force):
        await until_is(subject, plan.uuid, Listening.REFUSED)
        assert open_ones(subject) == {}
    assert (await until_is(subject, plan.uuid, Listening.OPEN)).opened
    # Ready: nobody is listened to any more, and whoever comes next finds the console free.
    last = await subject.driver.listen(())
    assert last[plan.uuid].listening is Listening.OPEN
    assert open_ones(subject) == {}
    with operator(one_host, plan.uuid):
        pass
    await subject.driver.power_off(plan.uuid)


async def test_listening_goes_on_over_another_connection(subject: Subject, one_host: Fleet) -> None:
    plan = await built(subject)
    await subject.driver.start(plan.uuid)
    assert (await until_is(subject, plan.uuid, Listening.OPEN)).opened
    with capture_logs() as logs:
        await gone_on(subject, one_host, plan.uuid)
    # What it said while nobody could listen is lost: have it boot, and say it, once more.
    one_host["h1"].virsh("reset", plan.name)
    assert not [line for line in logs if line["event"] == "host.connection.leaked"]
    await until_said(subject, plan.uuid, NO_SEED)
    await subject.driver.power_off(plan.uuid)


async def gone_on(subject: Subject, one_host: Fleet, uuid: str) -> None:
    """Have libvirtd start anew, and the console be opened anew after it."""
    one_host["h1"].restart_libvirtd()

    async def anew() -> bool:
        with suppress(HostUnreachable):
            return (await heard(subject, uuid)).opened
        return False

    await until_answer(anew, seconds=120, what="a console that was opened anew")


async def test_a_guest_that_floods_us_is_let_go_of(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consoles, "MOST_BYTES", len(NO_SEED))
    plan = await built(subject)
    await subject.driver.start(plan.uuid)
    flooded = await until_is(subject, plan.uuid, Listening.REFUSED, seconds=BOOT_SECONDS)
    assert "faster than it could be listened to" in (flooded.why or "")
    # What came in one look; the line's beginning may have come in the look before.
    assert len(flooded.data) >= len(NO_SEED)
    assert open_ones(subject) == {}
    await subject.driver.power_off(plan.uuid)
