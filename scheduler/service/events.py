"""The event journal for those who watch: pages of it, and word that it has grown."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from scheduler.clock import Clock
from scheduler.model import Event
from scheduler.service.journal import Journal
from scheduler.store import EventFilter, Store

PAGE = 500


class EventService:
    """Reads the journal; nobody is ever skipped an event."""

    def __init__(self, store: Store, clock: Clock, journal: Journal) -> None:
        self._store = store
        self._clock = clock
        self._journal = journal

    async def find(self, since: int, wanted: EventFilter, limit: int) -> tuple[Event, ...]:
        """Return at most `limit` events numbered above `since`, oldest first."""
        return await self._store.read(lambda tx: tx.events.find(since, wanted, limit))

    async def before_last(self, count: int, wanted: EventFilter) -> int:
        """Return the number after which the newest `count` events begin; 0 events: only news."""
        return await self._store.read(lambda tx: tx.events.before_last(count, wanted))

    async def latest(self) -> int:
        """Return the newest event's number, 0 before the first."""
        return await self._journal.latest()

    async def follow(
        self, since: int, wanted: EventFilter, *, quiet_seconds: float
    ) -> AsyncGenerator[tuple[Event, ...], None]:
        """Yield what follows `since`, page by page, until the daemon stops.

        After `quiet_seconds` without an event an empty page is yielded, so that whoever streams
        it can tell that the other end is still there.
        """
        told = self._clock.monotonic()
        while not self._journal.closed:
            seen = await self._journal.latest()
            page = await self.find(since, wanted, PAGE)
            # What was there and did not match need not be looked at again.
            since = page[-1].seq if len(page) == PAGE else max(since, seen, *_numbers(page))
            left = told + quiet_seconds - self._clock.monotonic()
            if page or left <= 0:
                yield page
                told = self._clock.monotonic()
                left = quiet_seconds
            if len(page) < PAGE:
                await self._journal.wait_beyond(seen, left)


def _numbers(page: tuple[Event, ...]) -> tuple[int, ...]:
    return tuple(event.seq for event in page)
