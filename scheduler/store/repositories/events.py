"""The journal: numbered in commit order, because one writer writes everything."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from operator import ge, lt
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select

from scheduler.errors import Invalid
from scheduler.model import Event
from scheduler.store.options import MAX_LIMIT
from scheduler.store.repositories.repository import Repository
from scheduler.store.repositories.settings import Settings
from scheduler.store.statements import Statement, numbered
from scheduler.store.tables import EVENTS

PRUNED_THROUGH = "events_pruned_through"
"""The setting that keeps the highest number of an event that was removed for its age."""

_COLUMNS = EVENTS.table.c
_SEQ = EVENTS.columns.index("seq")
_INSERT = numbered(EVENTS, "seq")
_LATEST = Statement(select(func.max(_COLUMNS.seq)))


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events; a `kind` that ends in a dot stands for all that begin with it."""

    sandbox_id: str | None = None
    host_id: str | None = None
    kind: str | None = None
    actor: str | None = None
    reason_code: str | None = None
    since_time: datetime | None = None
    """Only what happened then or later."""
    until_time: datetime | None = None
    """Only what happened before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """Events that followed a number, but for those that cannot be read: their numbers count.

    Going on from `through` misses and repeats nothing, whatever of the page could be read.
    """

    events: tuple[Event, ...]
    through: int
    """The number of the last one that was found, readable or not; the one begun from with none."""
    full: bool
    """It holds as many as were asked for, so there may be more."""


class Events(Repository):
    """The journal's repository."""

    __slots__ = ()

    def add(self, event: Event) -> int:
        """Append an event and return its number; numbers grow and may leave gaps."""
        rows = self._cursor.changed(_INSERT, EVENTS.row(event))
        return int(rows[0][0])

    def find(
        self, since: int = 0, filter: EventFilter | None = None, limit: int = MAX_LIMIT
    ) -> tuple[Event, ...]:
        """Return at most `limit` events after number `since`, oldest first.

        Those that cannot be read are left out: whoever goes on from what he got asks for a `page`.
        """
        return self.page(since, filter, limit).events

    def page(
        self, since: int = 0, filter: EventFilter | None = None, limit: int = MAX_LIMIT
    ) -> EventPage:
        """Return at most `limit` events after number `since`, oldest first, and how far it goes."""
        if since < 0 or limit < 0:
            raise Invalid(
                "since and limit must not be negative", remedy="Start at 0, the very beginning."
            )
        query = _matching(select(EVENTS.table).where(_COLUMNS.seq > since), filter)
        if since == 0:
            # Whoever goes on from a number is past what lies before the period.
            query = self._within(query, filter)
        most = min(limit, MAX_LIMIT)
        rows = self._cursor.search(query.order_by(_COLUMNS.seq).limit(most))
        return EventPage(
            events=self._each(EVENTS, rows),
            through=int(rows[-1][_SEQ]) if rows else since,
            full=len(rows) == most,
        )

    def before_last(self, count: int, filter: EventFilter | None = None) -> int:
        """Return the number after which the newest `count` events begin, 0 with no more than that.

        With 0 that is the newest one's own: what follows it is news.
        """
        query = self._within(_matching(select(_COLUMNS.seq), filter), filter)
        query = query.order_by(_COLUMNS.seq.desc())
        rows = self._cursor.search(query.offset(count).limit(1))
        return int(rows[0][0]) if rows else 0

    def _within(self, query: Select[Any], filter: EventFilter | None) -> Select[Any]:
        """Bound a query by the numbers of the filter's period, which an index of times finds.

        Where the clock was set they enclose others too: the times themselves still decide.
        """
        if filter is None or not _times(filter):
            return query
        ((first, last),) = self._cursor.search(span(filter))
        return query.where(_COLUMNS.seq.between(first or 0, last or 0))

    def pruned_through(self) -> int:
        """Return the highest number of an event that was removed for its age, 0 before any."""
        return int(Settings(self._cursor, self._clock).get(PRUNED_THROUGH) or 0)

    def latest(self) -> int:
        """Return the newest event's number, 0 when there is none."""
        row = self._cursor.row(_LATEST)
        return int(row[0] or 0) if row else 0


def _matching(query: Select[Any], filter: EventFilter | None) -> Select[Any]:
    wanted = filter or EventFilter()
    for name in ("sandbox_id", "host_id", "actor", "reason_code"):
        if (value := getattr(wanted, name)) is not None:
            query = query.where(_COLUMNS[name] == EVENTS.encode(name, value))
    query = query.where(*_times(wanted))
    if wanted.kind is None:
        return query
    if wanted.kind.endswith("."):
        return query.where(_COLUMNS.kind.startswith(wanted.kind, autoescape=True))
    return query.where(_COLUMNS.kind == wanted.kind)


def span(wanted: EventFilter) -> Select[Any]:
    """Return the query for the lowest and the highest number within a filter's period."""
    return select(func.min(_COLUMNS.seq), func.max(_COLUMNS.seq)).where(*_times(wanted))


def _times(wanted: EventFilter) -> tuple[ColumnElement[bool], ...]:
    return tuple(
        compare(_COLUMNS.at, EVENTS.encode("at", bound))
        for compare, bound in ((ge, wanted.since_time), (lt, wanted.until_time))
        if bound is not None
    )
