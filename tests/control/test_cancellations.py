"""Who works on something hears that its end is asked for, however often the store refuses."""

from __future__ import annotations

import asyncio

from scheduler.control.cancellations import AGAIN_SECONDS, until_asked
from scheduler.errors import NotFound, ReadOnly, SandboxdError, Unavailable
from tests.clocks import ManualClock
from tests.waits import DEADLINE_SECONDS


class Record:
    """Says whether an end is asked for, or what it was told to."""

    def __init__(self) -> None:
        self.answer: bool | SandboxdError = False
        self.looks = 0

    async def asked(self) -> bool:
        self.looks += 1
        if isinstance(self.answer, SandboxdError):
            raise self.answer
        return self.answer


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_record_is_read_at_first_and_after_each_nudge() -> None:
    clock, record, nudged = ManualClock(), Record(), asyncio.Event()
    watching = asyncio.create_task(until_asked(record.asked, nudged, clock))
    await turns()
    clock.advance(3600)
    await turns()
    assert record.looks == 1
    nudged.set()
    await turns()
    assert record.looks == 2
    record.answer = True
    await turns()
    assert not watching.done()
    nudged.set()
    await asyncio.wait_for(watching, DEADLINE_SECONDS)
    assert record.looks == 3


async def test_a_look_that_is_refused_is_taken_again_and_not_at_once() -> None:
    clock, record, nudged = ManualClock(), Record(), asyncio.Event()
    nudged.set()
    watching = asyncio.create_task(until_asked(record.asked, nudged, clock))
    for looks, error in enumerate((Unavailable("gone"), ReadOnly("full"), NotFound("none")), 1):
        record.answer = error
        await turns()
        assert record.looks == looks
        clock.advance(AGAIN_SECONDS)
    record.answer = Unavailable("gone")
    await turns()
    assert record.looks == 4
    nudged.set()
    await turns()
    assert record.looks == 5
    record.answer = True
    clock.advance(AGAIN_SECONDS)
    await asyncio.wait_for(watching, DEADLINE_SECONDS)
