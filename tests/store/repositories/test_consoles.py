"""A console is one row a sandbox, written over, and goes with the tombstone."""

from __future__ import annotations

from functools import partial

import pytest

from scheduler.errors import Invalid
from scheduler.model import Console, ConsoleGap, DesiredState, SandboxState
from scheduler.store import Store, Transaction
from tests.clocks import START
from tests.store.samples import console, host, later, sandbox

ODD = bytes(range(256))


@pytest.fixture
async def lab(store: Store) -> Store:
    await store.submit(lambda tx: [tx.sandboxes.add(sandbox(f"SBX-{n}")) for n in (1, 2)])
    return store


async def test_it_is_written_over_and_read_as_it_was(lab: Store) -> None:
    assert await lab.read(lambda tx: tx.consoles.get("SBX-1")) is None
    first = console(begun_at=later(1), printed=b"one")
    gap = ConsoleGap(offset=3, at=later(2), why="the guest was started again")
    second = console(
        boot_at=later(9),
        begun_at=later(10),
        ended_at=later(11),
        printed=ODD,
        dropped_bytes=7,
        gaps=(gap,),
        reason="why",
        updated_at=later(12),
    )
    for written in (first, second):
        await lab.submit(partial(_put, written))
        assert await lab.read(lambda tx: tx.consoles.get("SBX-1")) == written
    assert await lab.read(lambda tx: tx.consoles.get("SBX-2")) is None
    with pytest.raises(Invalid):
        await lab.submit(lambda tx: tx.consoles.put(console("SBX-9")))


def _put(console: Console, tx: Transaction) -> None:
    tx.consoles.put(console)


async def test_those_of_present_boots_are_found(lab: Store) -> None:
    here, over = console("SBX-1", printed=b"x"), console("SBX-2", ended_at=START)
    await lab.submit(lambda tx: [tx.consoles.put(one) for one in (here, over)])
    assert await lab.read(lambda tx: tx.consoles.unended()) == (here,)
    assert await lab.read(lambda tx: tx.consoles.has_text("SBX-1", START))
    assert not await lab.read(lambda tx: tx.consoles.has_text("SBX-1", later(1)))
    assert not await lab.read(lambda tx: tx.consoles.has_text("SBX-2", START))
    assert not await lab.read(lambda tx: tx.consoles.has_text("SBX-3", START))


async def test_who_boots_on_a_host_is_found(store: Store) -> None:
    boots = {"state": SandboxState.STARTING, "desired_state": DesiredState.RUNNING}
    stops = {**boots, "desired_state": DesiredState.STOPPED}
    boxes = (
        sandbox("SBX-1", host_id="HST-1", **boots),
        sandbox("SBX-2", host_id="HST-1", **stops),
        sandbox("SBX-3", host_id="HST-1", desired_state=DesiredState.RUNNING),
        sandbox("SBX-4", host_id="HST-2", **boots),
    )
    await store.submit(lambda tx: tx.hosts.add(host()))
    await store.submit(lambda tx: [tx.sandboxes.add(one) for one in boxes])
    (found,) = await store.read(lambda tx: tx.sandboxes.booting_on("HST-1"))
    assert found.id == "SBX-1"
    assert await store.read(lambda tx: tx.sandboxes.booting_on("HST-3")) == ()


async def test_it_stays_with_the_tombstone_and_goes_before_it(lab: Store) -> None:
    await lab.submit(lambda tx: [tx.consoles.put(console(f"SBX-{n}")) for n in (1, 2)])
    await lab.submit(lambda tx: tx.sandboxes.bury("SBX-1", at=later(10), reason_code="destroyed"))
    assert len(await lab.read(lambda tx: tx.outdated.consoles(later(10), 9))) == 0
    assert len(await lab.read(lambda tx: tx.outdated.tombstones(later(11), 9))) == 0
    found = await lab.read(lambda tx: tx.outdated.consoles(later(11), 9))
    assert found.keys == (("SBX-1",),)
    assert await lab.submit(lambda tx: tx.outdated.remove(found)) == 1
    assert await lab.read(lambda tx: tx.consoles.get("SBX-1")) is None
    assert await lab.read(lambda tx: tx.consoles.get("SBX-2")) is not None
    assert len(await lab.read(lambda tx: tx.outdated.tombstones(later(11), 9))) == 1
