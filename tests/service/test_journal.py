"""Waiting for the journal to grow: woken by growth, by time, by the end; never in vain."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from scheduler.model import Event
from scheduler.service.events import PAGE
from scheduler.service.journal import Journal
from scheduler.store import EventFilter, Store, Transaction
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


async def damage(store: Store, first: int, last: int) -> None:
    """Make the events of these numbers unreadable, as a hand or a disk would."""
    with closing(sqlite3.connect(str(store.config.sqlite_path), timeout=60)) as database, database:
        database.execute(
            "UPDATE events SET evidence = '{' WHERE seq BETWEEN ? AND ?", (first, last)
        )


async def test_following_passes_over_what_cannot_be_read_and_over_nothing_else(
    cloud: Plane, clock: ManualClock
) -> None:
    """Neither a page with a hole nor one that is nothing but a hole is the journal's end."""

    def many(tx: Transaction) -> list[int]:
        happened = Event(at=clock.now(), kind="test.happened")
        return [tx.events.add(happened) for _ in range(4 * PAGE)]

    numbers = await cloud.store.submit(many)
    start = numbers[0] - 1
    await damage(cloud.store, numbers[10], numbers[10])
    await damage(cloud.store, numbers[PAGE], numbers[2 * PAGE - 1])
    readable = [*numbers[:10], *numbers[11:PAGE], *numbers[2 * PAGE :]]
    seen: list[int] = []
    through = [start]
    async for page in cloud.services.events.follow(start, EventFilter(), quiet_seconds=1000):
        seen += (event.seq for event in page.events)
        through.append(page.through)
        if page.through >= numbers[-1]:
            break

    assert seen == readable
    assert through == [start, numbers[PAGE - 1], numbers[3 * PAGE - 1], numbers[-1]]
    again = cloud.services.events.follow(through[1], EventFilter(), quiet_seconds=1000)
    assert [event.seq for event in (await anext(again)).events] == numbers[2 * PAGE : 3 * PAGE]
    await again.aclose()


async def test_what_cannot_be_read_keeps_no_follower_from_what_comes(
    cloud: Plane, clock: ManualClock
) -> None:
    start = await happen(cloud.store, clock)
    bad = await happen(cloud.store, clock)
    await damage(cloud.store, bad, bad)
    cloud.journal.poke()
    following = cloud.services.events.follow(start, EventFilter(), quiet_seconds=1000)
    next_one = asyncio.ensure_future(anext(following))
    await until(lambda: cloud.journal.waiting == 1)

    number = await happen(cloud.store, clock)
    cloud.journal.poke()

    assert [event.seq for event in (await next_one).events] == [number]
    await following.aclose()
