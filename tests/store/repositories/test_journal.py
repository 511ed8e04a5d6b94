"""What is written down once: events, decisions, kept answers, settings."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import create_engine, text

from scheduler.errors import AlreadyExists, Invalid, NotFound
from scheduler.model import Event, IdempotencyRecord
from scheduler.store import EventFilter, EventPage, Store, StoreConfig, Transaction
from tests.clocks import START
from tests.store.samples import decision, later


def event(kind: str = "sandbox.state", **changes: object) -> Event:
    return Event(at=START, kind=kind, **changes)  # type: ignore[arg-type]


def journal(tx: Transaction, *events: Event) -> list[int]:
    return [tx.events.add(one) for one in events]


async def test_events_are_numbered_and_read_from_where_one_stopped(store: Store) -> None:
    before = await store.read(lambda tx: tx.events.latest())
    numbers = await store.submit(lambda tx: journal(tx, *[event(message=str(n)) for n in range(5)]))
    assert numbers == sorted(set(numbers))
    assert numbers[0] > before
    rest = await store.read(lambda tx: tx.events.find(numbers[1], limit=2))
    assert [one.seq for one in rest] == numbers[2:4]
    assert await store.read(lambda tx: tx.events.latest()) == numbers[-1]
    assert await store.read(lambda tx: tx.events.find(numbers[-1])) == ()


async def test_a_page_goes_on_behind_what_cannot_be_read(store: Store, url: str) -> None:
    numbers = await store.submit(lambda tx: journal(tx, *[event() for _ in range(6)]))
    engine = create_engine(StoreConfig(database_url=url).url())
    with engine.begin() as beside:
        for number in (numbers[1], *numbers[2:4]):
            update = text("UPDATE events SET evidence = '{' WHERE seq = :seq")
            beside.execute(update, {"seq": number})
    engine.dispose()
    told: list[EventPage] = []
    since, full = 0, True
    while full:
        page = await store.read(partial(_page, since=since, limit=2))
        told.append(page)
        since, full = page.through, page.full
    assert [[one.seq for one in page.events] for page in told] == [
        numbers[:1],
        [],
        numbers[4:],
        [],
    ]
    assert [page.through for page in told] == [numbers[1], numbers[3], numbers[5], numbers[5]]
    assert [page.full for page in told] == [True, True, True, False]
    rest = await store.read(partial(_page, since=numbers[0], limit=9))
    assert (rest.through, rest.full) == (numbers[5], False)
    assert await store.read(partial(_page, since=0, limit=0)) == EventPage(
        events=(), through=0, full=True
    ), "nothing was asked for, so nothing is said of what there is"


def _page(tx: Transaction, *, since: int, limit: int) -> EventPage:
    return tx.events.page(since, None, limit)


async def test_the_newest_events_begin_after_a_number(store: Store) -> None:
    assert await store.read(lambda tx: tx.events.before_last(3)) == 0
    numbers = await store.submit(lambda tx: journal(tx, *[event() for _ in range(4)]))
    for count in range(4):
        start = await store.read(partial(_start, count))
        assert start == numbers[-1 - count]
        assert len(await store.read(partial(_find, since=start, limit=9))) == count
    assert await store.read(partial(_start, 4)) == 0


def _start(count: int, tx: Transaction) -> int:
    return tx.events.before_last(count)


async def test_i13_numbers_grow_in_the_order_of_commits(store: Store) -> None:
    """A reader that follows the journal by number never finds one below what it has read."""
    seen = [0]
    done = asyncio.Event()

    async def look() -> None:
        seen.extend(one.seq for one in await store.read(lambda tx: tx.events.find(seen[-1])))

    async def follow() -> None:
        while not done.is_set():
            await look()

    async def write(number: int) -> int:
        if number % 3:
            return await store.submit(lambda tx: tx.events.add(event()))
        async with store.transaction() as tx:
            return await tx.events.add(event())

    follower = asyncio.create_task(follow())
    written = await asyncio.gather(*map(write, range(100)))
    done.set()
    await follower
    await look()
    assert seen == [0, *sorted(written)]


@pytest.mark.parametrize(
    ("filter", "messages"),
    [
        (EventFilter(), "abcd"),
        (EventFilter(sandbox_id="SBX-1"), "ab"),
        (EventFilter(host_id="HST-1"), "bc"),
        (EventFilter(kind="host.state"), "c"),
        (EventFilter(kind="sandbox."), "ab"),
        (EventFilter(kind="sandb%."), ""),
        (EventFilter(actor="uid:7"), "d"),
        (EventFilter(sandbox_id="SBX-1", host_id="HST-1"), "b"),
    ],
)
async def test_events_are_filtered(store: Store, filter: EventFilter, messages: str) -> None:
    await store.submit(
        lambda tx: journal(
            tx,
            event("sandbox.state", sandbox_id="SBX-1", message="a"),
            event("sandbox.lease", sandbox_id="SBX-1", host_id="HST-1", message="b"),
            event("host.state", host_id="HST-1", message="c"),
            event("drain.finished", actor="uid:7", message="d"),
        )
    )
    found = await store.read(lambda tx: tx.events.find(0, filter))
    assert "".join(one.message for one in found) == messages


@pytest.mark.parametrize(
    ("since", "until", "messages"),
    [
        (1, None, "bdc"),
        (None, 2, "abd"),
        (1, 2, "bd"),
        (3, 4, "c"),
        (4, None, ""),
        (None, 0, ""),
    ],
)
async def test_events_of_a_period_are_found_also_where_the_clock_was_set_back(
    store: Store, since: int | None, until: int | None, messages: str
) -> None:
    """What was written after the step back stands between those that it is older than."""
    hours = {"a": 0, "b": 1, "c": 3, "d": 1}
    told = [replace(event(message=name), at=later(3600 * hour)) for name, hour in hours.items()]
    numbers = await store.submit(lambda tx: journal(tx, *told))
    named = dict(zip(numbers, hours, strict=True))
    filter = EventFilter(
        since_time=None if since is None else later(3600 * since),
        until_time=None if until is None else later(3600 * until),
    )
    wanted = sorted(number for number, name in named.items() if name in messages)
    found = await store.read(lambda tx: tx.events.find(0, filter))
    assert [one.seq for one in found] == wanted
    rest = await store.read(lambda tx: tx.events.find(numbers[1], filter))
    assert [one.seq for one in rest] == [number for number in wanted if number > numbers[1]]
    last = await store.read(lambda tx: tx.events.before_last(1, filter))
    assert last == (wanted[-2] if len(wanted) > 1 else 0)


async def test_events_are_never_asked_for_from_before_the_beginning(store: Store) -> None:
    for since, limit in ((-1, 1), (0, -1), (1 << 70, 1)):
        with pytest.raises(Invalid):
            await store.read(partial(_find, since=since, limit=limit))
    assert await store.read(lambda tx: tx.events.latest()) == 0


def _find(tx: Transaction, *, since: int, limit: int) -> tuple[Event, ...]:
    return tx.events.find(since, None, limit)


async def test_decisions_are_kept_with_their_sandbox(store: Store) -> None:
    first = decision("DEC-1", demand={"vcpus": 2}, chosen=({"host": "a", "score": 0.5},))
    again = decision("DEC-2", created_at=later(1))
    refused = decision("DEC-3", sandbox_id=None, outcome="capacity_exhausted")
    await store.submit(lambda tx: [tx.decisions.add(one) for one in (first, again, refused)])
    assert await store.read(lambda tx: tx.decisions.get("DEC-1")) == first
    assert await store.read(lambda tx: tx.decisions.of_sandbox("SBX-1")) == (first, again)
    assert await store.read(lambda tx: tx.decisions.get("DEC-3")) == refused
    with pytest.raises(NotFound):
        await store.read(lambda tx: tx.decisions.get("DEC-4"))


async def test_an_answer_is_kept_once(store: Store) -> None:
    record = IdempotencyRecord(
        actor="uid:0",
        route="POST /v1/sandboxes",
        key="k",
        body_hash="h",
        status=202,
        answer="{}",
        created_at=START,
    )
    key = (record.actor, record.route, record.key)
    assert await store.read(lambda tx: tx.idempotency.get(*key)) is None
    await store.submit(lambda tx: tx.idempotency.add(record))
    with pytest.raises(AlreadyExists):
        await store.submit(lambda tx: tx.idempotency.add(record))
    assert await store.read(lambda tx: tx.idempotency.get(*key)) == record


async def test_settings_are_put_over_and_ensured_once(store: Store) -> None:
    assert await store.read(lambda tx: tx.settings.get("cluster")) is None
    assert await store.submit(lambda tx: tx.settings.ensure("cluster", "")) == ""
    assert await store.submit(lambda tx: tx.settings.ensure("cluster", "b")) == ""
    await store.submit(lambda tx: tx.settings.put("cluster", "c"))
    assert await store.read(lambda tx: tx.settings.get("cluster")) == "c"
    with pytest.raises(Invalid):
        await store.submit(lambda tx: tx.settings.put("cluster", "nul\0"))
