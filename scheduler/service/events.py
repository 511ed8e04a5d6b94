"""The event journal for those who watch: pages of it, and word that it has grown.

Whoever names the number they stopped at gets all that followed, or is told that it is gone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from scheduler.clock import Clock
from scheduler.errors import JournalGap
from scheduler.model import Event
from scheduler.service.journal import Journal
from scheduler.store import EventFilter, EventPage, Store, Transaction

PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """The matching events up to a number: resuming from `through` misses and repeats nothing."""

    events: tuple[Event, ...]
    through: int


class EventService:
    """Reads the journal; nobody is ever skipped an event that can be read."""

    def __init__(self, store: Store, clock: Clock, journal: Journal) -> None:
        self._store = store
        self._clock = clock
        self._journal = journal

    async def find(self, since: int, wanted: EventFilter, limit: int) -> tuple[Event, ...]:
        """Return at most `limit` events numbered above `since`, oldest first; 0 is the beginning.

        Raises JournalGap when some that followed `since` are gone.
        """
        return (await self.page(since, wanted, limit)).events

    async def page(self, since: int, wanted: EventFilter, limit: int) -> EventPage:
        """Return what `find` does, and the number to go on from; raises JournalGap too."""

        def look(tx: Transaction) -> EventPage:
            _check_continuity(tx, since)
            return tx.events.page(since, wanted, limit)

        return await self._store.read(look)

    async def check(self, since: int) -> None:
        """Return if nothing that followed `since` is gone; raises JournalGap."""
        await self._store.read(lambda tx: _check_continuity(tx, since))

    async def before_last(self, count: int, wanted: EventFilter) -> int:
        """Return the number after which the newest `count` events begin; 0 events: only news."""
        return await self._store.read(lambda tx: tx.events.before_last(count, wanted))

    async def latest(self) -> int:
        """Return the newest event's number, 0 before the first."""
        return await self._journal.latest()

    async def follow(
        self, since: int, wanted: EventFilter, *, quiet_seconds: float
    ) -> AsyncGenerator[Passage, None]:
        """Yield what follows `since`, page by page, until the daemon stops or events are missed.

        After `quiet_seconds` without an event an empty passage is yielded, so that whoever
        streams it can tell that the other end is still there.
        """
        told = self._clock.monotonic()
        while not self._journal.closed:
            seen = await self._journal.latest()
            try:
                page = await self.page(since, wanted, PAGE)
            except JournalGap:
                # Too late to refuse. A reader this slow hears it when it comes back.
                return
            # What was there and did not match need not be looked at again.
            since = page.through if page.full else max(seen, page.through)
            left = told + quiet_seconds - self._clock.monotonic()
            if page.events or left <= 0:
                yield Passage(events=page.events, through=since)
                told = self._clock.monotonic()
                left = quiet_seconds
            if not page.full:
                await self._journal.wait_beyond(seen, left)


def _check_continuity(tx: Transaction, since: int) -> None:
    """Raise JournalGap unless all that followed `since` is in the journal."""
    if since == 0:
        return
    remedy = (
        "take stock of what is there now, then follow the journal anew: without Last-Event-ID,"
        " with since=0 for all that is kept, or with last=0 for news only"
    )
    if since < (pruned := tx.events.pruned_through()):
        raise JournalGap(
            f"events up to {pruned} were removed for their age, some after {since} among them",
            remedy=remedy,
            details={"pruned_through": pruned},
        )
    if since > (latest := tx.events.latest()):
        raise JournalGap(
            f"the journal ends at event {latest}, before {since}: it was restored or rebuilt",
            remedy=remedy,
            details={"latest": latest},
        )
