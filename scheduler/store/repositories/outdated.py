"""What nobody needs any more: found on a reader's connection, removed a few rows at a time.

Nothing that a live sandbox, or a tombstone that is still kept, refers to is ever found; a tombstone
goes only after everything that names it, since its id is what a reappearing domain is known by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, bindparam, exists, func, select

from scheduler.model import CommandStatus
from scheduler.store.mapping import Mapper
from scheduler.store.repositories.repository import Repository
from scheduler.store.statements import Statement, removed
from scheduler.store.tables import (
    ALLOCATIONS,
    CHANGE_SETS,
    COMMANDS,
    DECISIONS,
    DIFFS,
    EVENTS,
    IDEMPOTENCY,
    SANDBOXES,
    SNAPSHOTS,
    VOLUMES,
)
from scheduler.store.values import micros


@dataclass(frozen=True, slots=True, kw_only=True)
class OutdatedRows:
    """Rows of one table, by their keys."""

    table: str
    keys: tuple[tuple[Any, ...], ...]

    def __len__(self) -> int:
        return len(self.keys)


def _older(mapper: Mapper[Any], moment: str, *conditions: Any) -> Statement:
    """Return the search for the keys of rows older than a time, the oldest first."""
    column = mapper.table.c[moment]
    return Statement(
        select(*mapper.table.primary_key)
        .where(column < bindparam("before"), *conditions)
        .order_by(column)
        .limit(bindparam("most")),
        "before",
        "most",
    )


def _unnamed_by(column: Column[Any]) -> Any:
    return ~exists().where(column == SANDBOXES.table.c.id)


_OLD_ANSWERS = _older(IDEMPOTENCY, "created_at")
_OLD_COMMANDS = _older(COMMANDS, "ended_at", COMMANDS.table.c.status != CommandStatus.RUNNING.value)
_OLD_DECISIONS = _older(
    DECISIONS,
    "created_at",
    ~exists().where(SANDBOXES.table.c.id == DECISIONS.table.c.sandbox_id),
)
_OLD_TOMBSTONES = _older(
    SANDBOXES,
    "deleted_at",
    *(
        _unnamed_by(mapper.table.c[name])
        for mapper, name in (
            (ALLOCATIONS, "sandbox_id"),
            (VOLUMES, "owner"),
            (COMMANDS, "sandbox_id"),
            (SNAPSHOTS, "sandbox_id"),
            (DIFFS, "sandbox_id"),
            (CHANGE_SETS, "sandbox_id"),
        )
    ),
)
_NEWEST = select(func.max(EVENTS.table.c.seq)).scalar_subquery()
# The newest stays: whoever waits for news counts from its number.
_OLD_EVENTS = _older(EVENTS, "at", EVENTS.table.c.seq < _NEWEST)
_SURPLUS_EVENTS = Statement(
    select(EVENTS.table.c.seq)
    .where(EVENTS.table.c.seq <= _NEWEST - bindparam("rows"))
    .order_by(EVENTS.table.c.seq)
    .limit(bindparam("most")),
    "rows",
    "most",
)

_REMOVE: Mapping[str, Statement] = {
    mapper.table.name: removed(mapper, *mapper.table.primary_key.columns.keys())
    for mapper in (IDEMPOTENCY, COMMANDS, DECISIONS, SANDBOXES, EVENTS)
}


class Outdated(Repository):
    """Finds at most `most` rows of a kind that are older than `before`, and removes them."""

    __slots__ = ()

    def answers(self, before: datetime, most: int) -> OutdatedRows:
        """Return kept answers, whose keys no longer count then."""
        return self._found(IDEMPOTENCY, _OLD_ANSWERS, micros(before), most)

    def commands(self, before: datetime, most: int) -> OutdatedRows:
        """Return commands that ended before; what still runs is never old."""
        return self._found(COMMANDS, _OLD_COMMANDS, micros(before), most)

    def decisions(self, before: datetime, most: int) -> OutdatedRows:
        """Return refusals, and the decisions of sandboxes that are not even tombstones now."""
        return self._found(DECISIONS, _OLD_DECISIONS, micros(before), most)

    def tombstones(self, before: datetime, most: int) -> OutdatedRows:
        """Return destroyed sandboxes that nothing names any more."""
        return self._found(SANDBOXES, _OLD_TOMBSTONES, micros(before), most)

    def events(self, before: datetime, most: int) -> OutdatedRows:
        """Return events, but never the newest."""
        return self._found(EVENTS, _OLD_EVENTS, micros(before), most)

    def surplus_events(self, rows: int, most: int) -> OutdatedRows:
        """Return the oldest events beyond the newest `rows`, gaps in their numbers counted too."""
        return self._found(EVENTS, _SURPLUS_EVENTS, rows, most)

    def remove(self, found: OutdatedRows) -> int:
        """Remove what was found and return how many rows were still there."""
        statement = _REMOVE[found.table]
        return sum(self._cursor.change(statement, key) for key in found.keys)

    def _found(self, mapper: Mapper[Any], statement: Statement, *parameters: Any) -> OutdatedRows:
        keys = tuple(map(tuple, self._cursor.rows(statement, *parameters)))
        return OutdatedRows(table=mapper.table.name, keys=keys)
