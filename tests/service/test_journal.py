"""Waiting for the journal to grow: woken by growth, by time, by the end; never in vain."""

from __future__ import annotations

import asyncio
from pathlib import Path

from scheduler.model import Event
from scheduler.service.journal import Journal
from scheduler.store import EventFilter, Store
from tests.clocks import ManualClock
from tests.service.planes import Plane, database
from tests.waits import until


async def happen(store: Store, clock: ManualClock, kind: str = "test.happened") -> int:
    """Write an event as any room would."""
    return await store.submit(lambda tx: tx.events.add(Event(at=clock.now(), kind=kind)))


async def test_growth_wakes_everybody_who_waits(cloud: Plane, clock: ManualClock) -> None:
    seen = await cloud.journal.latest()
    waiting = [asyncio.create_task(cloud.journal.wait_beyond(seen, 60)) for _ in range(5)]
    await until(lambda: cloud.journal.waiting == 5)

    await happen(cloud.store, clock)
    cloud.journal.poke()

    assert await asyncio.gather(*waiting) == [True] * 5


async def test_growth_that_nobody_told_of_is_found(cloud: Plane, clock: ManualClock) -> None:
    seen = await cloud.journal.latest()
    waiting = asyncio.create_task(cloud.journal.wait_beyond(seen, 60))
    await until(lambda: cloud.journal.waiting == 1)
    await happen(cloud.store, clock)

    clock.advance(1)

    assert await waiting


async def test_what_has_grown_already_is_not_waited_for(cloud: Plane, clock: ManualClock) -> None:
    seen = await cloud.journal.latest()
    waiting = asyncio.create_task(cloud.journal.wait_beyond(seen, 60))
    await until(lambda: cloud.journal.waiting == 1)
    await happen(cloud.store, clock)
    cloud.journal.poke()
    await waiting

    assert await cloud.journal.wait_beyond(seen, 60)


async def test_time_ends_the_waiting(cloud: Plane, clock: ManualClock) -> None:
    seen = await cloud.journal.latest()
    waiting = asyncio.create_task(cloud.journal.wait_beyond(seen, 5))
    await until(lambda: cloud.journal.waiting == 1)

    clock.advance(6)

    assert not await waiting


async def test_leaving_lets_everybody_go(tmp_path: Path, clock: ManualClock) -> None:
    async with Store.open(database(tmp_path), clock=clock) as store:
        async with Journal.open(store, clock) as journal:
            waiting = asyncio.create_task(journal.wait_beyond(99, 60))
            await until(lambda: journal.waiting == 1)
        assert not await waiting
        assert journal.closed
        assert not await journal.wait_beyond(99, 60)


async def test_following_skips_nothing_and_repeats_nothing(
    cloud: Plane, clock: ManualClock
) -> None:
    start = await cloud.services.events.latest()
    wanted = EventFilter(kind="test.happened")
    numbers = [await happen(cloud.store, clock) for _ in range(3)]
    seen: list[int] = []

    async def follow() -> None:
        async for page in cloud.services.events.follow(start, wanted, quiet_seconds=1000):
            seen.extend(event.seq for event in page.events)

    following = asyncio.create_task(follow())
    await until(lambda: len(seen) == 3)
    for kind in ("test.other", "test.happened", "test.other"):
        number = await happen(cloud.store, clock, kind)
        if kind == "test.happened":
            numbers.append(number)
        cloud.journal.poke()
    await until(lambda: len(seen) == 4)
    cloud.journal.close()
    await following

    assert seen == numbers


async def test_following_takes_large_backlogs_page_by_page(
    cloud: Plane, clock: ManualClock
) -> None:
    def many(tx: object) -> None:
        for _ in range(1100):
            tx.events.add(Event(at=clock.now(), kind="test.happened"))  # type: ignore[attr-defined]

    await cloud.store.submit(many)
    sizes: list[int] = []
    wanted = EventFilter(kind="test.happened")
    async for page in cloud.services.events.follow(0, wanted, quiet_seconds=1000):
        sizes.append(len(page.events))
        if sum(sizes) == 1100:
            break

    assert sizes == [500, 500, 100]
