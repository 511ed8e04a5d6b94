"""What nobody needs any more: found on a reader's connection, removed a few rows at a time.

Nothing that a live sandbox, or a tombstone that is still kept, refers to is ever found; a tombstone
goes only after everything that names it, since its id is what a reappearing domain is known by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import takewhile
from typing import Any

from sqlalchemy import Column, bindparam, delete, exists, func, select

from scheduler.model import CommandStatus, InspectionStatus
from scheduler.store.mapping import Mapper
from scheduler.store.repositories.events import PRUNED_THROUGH
from scheduler.store.repositories.repository import Repository
from scheduler.store.repositories.settings import Settings
from scheduler.store.statements import Statement
from scheduler.store.tables import (
    ALLOCATIONS,
    CHANGE_SETS,
    COMMANDS,
    CONSOLES,
    DECISIONS,
    DIFFS,
    EVENTS,
    IDEMPOTENCY,
    INSPECTIONS,
    PLAYBOOK_RUNS,
    SANDBOXES,
    SNAPSHOTS,
    SSH_CERTIFICATES,
    SSH_SESSIONS,
    VOLUMES,
)
from scheduler.store.values import micros


@dataclass(frozen=True, slots=True, kw_only=True)
class OutdatedRows:
    """Rows of one kind, by their keys, and the bound below which they were found."""

    kind: str
    bound: int
    keys: tuple[tuple[Any, ...], ...]

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class Kind:
    """How rows of a kind are found, and removed if they are still outdated by then.

    `noted` is the setting that keeps the highest key that was ever removed, if any.
    """

    find: Statement
    remove: Statement
    noted: str | None = None


def _older(mapper: Mapper[Any], moment: str, *conditions: Any) -> Kind:
    """Return the kind of the rows older than a time, the oldest first."""
    column = mapper.table.c[moment]
    return _kind(mapper, column, column < bindparam("bound"), *conditions)


def _kind(mapper: Mapper[Any], order: Column[Any], *conditions: Any) -> Kind:
    keys = mapper.table.primary_key.columns
    found = select(*keys).where(*conditions).order_by(order).limit(bindparam("most"))
    named = [column == bindparam(f"key_{column.name}") for column in keys]
    return Kind(
        Statement(found, "bound", "most"),
        Statement(
            delete(mapper.table).where(*named, *conditions),
            *(f"key_{column.name}" for column in keys),
            "bound",
        ),
    )


def _unnamed_by(mapper: Mapper[Any], name: str) -> Any:
    """Return that no row names the sandbox in this column."""
    return ~exists().where(mapper.table.c[name] == SANDBOXES.table.c.id)


def _destroyed_before(mapper: Mapper[Any]) -> Any:
    """Return that the row's sandbox was destroyed before the bound."""
    return exists().where(
        SANDBOXES.table.c.id == mapper.table.c.sandbox_id,
        SANDBOXES.table.c.deleted_at < bindparam("bound"),
    )


def _consoles() -> Kind:
    """Return the kind of the consoles of destroyed sandboxes, found by when those were."""
    table, deleted_at = CONSOLES.table, SANDBOXES.table.c.deleted_at
    found = (
        select(table.c.sandbox_id)
        .join(SANDBOXES.table, SANDBOXES.table.c.id == table.c.sandbox_id)
        .where(deleted_at.is_not(None), deleted_at < bindparam("bound"))
        .order_by(deleted_at)
        .limit(bindparam("most"))
    )
    named = table.c.sandbox_id == bindparam("key_sandbox_id")
    return Kind(
        Statement(found, "bound", "most"),
        Statement(
            delete(table).where(named, _destroyed_before(CONSOLES)), "key_sandbox_id", "bound"
        ),
    )


_SEQ = EVENTS.table.c.seq
_NEWEST = select(func.max(EVENTS.table.alias().c.seq)).scalar_subquery()
_AT = EVENTS.table.c.at
_OLDEST_EVENTS = select(_SEQ, _AT).where(_SEQ < _NEWEST).order_by(_SEQ).limit(bindparam("most"))

KINDS: Mapping[str, Kind] = {
    "answers": _older(IDEMPOTENCY, "created_at"),
    "commands": _older(
        COMMANDS, "ended_at", COMMANDS.table.c.status != CommandStatus.RUNNING.value
    ),
    "inspections": _older(
        INSPECTIONS, "ended_at", INSPECTIONS.table.c.status != InspectionStatus.WAITING.value
    ),
    "playbook runs": _older(PLAYBOOK_RUNS, "ended_at"),
    "decisions": _older(
        DECISIONS,
        "created_at",
        ~exists().where(SANDBOXES.table.c.id == DECISIONS.table.c.sandbox_id),
    ),
    "diffs": _older(
        DIFFS,
        "created_at",
        _destroyed_before(DIFFS),
        ~exists().where(CHANGE_SETS.table.c.diff_id == DIFFS.table.c.id),
    ),
    "consoles": _consoles(),
    "tombstones": _older(
        SANDBOXES,
        "deleted_at",
        _unnamed_by(ALLOCATIONS, "sandbox_id"),
        _unnamed_by(VOLUMES, "owner"),
        _unnamed_by(COMMANDS, "sandbox_id"),
        _unnamed_by(SNAPSHOTS, "sandbox_id"),
        _unnamed_by(DIFFS, "sandbox_id"),
        _unnamed_by(CHANGE_SETS, "sandbox_id"),
        _unnamed_by(CONSOLES, "sandbox_id"),
    ),
    "ssh certificates": _older(SSH_CERTIFICATES, "valid_until"),
    "ssh sessions": _older(SSH_SESSIONS, "ended_at"),
    # The newest stays: whoever waits for news counts from its number.
    "events": replace(
        _kind(EVENTS, _SEQ, bindparam("bound") > _AT, _SEQ < _NEWEST),
        find=Statement(_OLDEST_EVENTS, "most"),
        noted=PRUNED_THROUGH,
    ),
    "surplus events": replace(
        _kind(EVENTS, _SEQ, _NEWEST - bindparam("bound") >= _SEQ), noted=PRUNED_THROUGH
    ),
}


class Outdated(Repository):
    """Finds at most `most` rows of a kind that are older than `before`, and removes them."""

    __slots__ = ()

    def answers(self, before: datetime, most: int) -> OutdatedRows:
        """Return kept answers, whose keys no longer count then."""
        return self._found("answers", micros(before), most)

    def commands(self, before: datetime, most: int) -> OutdatedRows:
        """Return commands that ended before; what still runs is never old."""
        return self._found("commands", micros(before), most)

    def inspections(self, before: datetime, most: int) -> OutdatedRows:
        """Return looks at source VMs that ended before."""
        return self._found("inspections", micros(before), most)

    def playbook_runs(self, before: datetime, most: int) -> OutdatedRows:
        """Return runs of playbooks that ended before."""
        return self._found("playbook runs", micros(before), most)

    def ssh_certificates(self, before: datetime, most: int) -> OutdatedRows:
        """Return certificates with which no session could begin after that time."""
        return self._found("ssh certificates", micros(before), most)

    def ssh_sessions(self, before: datetime, most: int) -> OutdatedRows:
        """Return sessions that ended before; what is still held is never old."""
        return self._found("ssh sessions", micros(before), most)

    def decisions(self, before: datetime, most: int) -> OutdatedRows:
        """Return refusals, and the decisions of sandboxes that are not even tombstones now."""
        return self._found("decisions", micros(before), most)

    def diffs(self, before: datetime, most: int) -> OutdatedRows:
        """Return diffs of sandboxes destroyed before, but for those from which code was made."""
        return self._found("diffs", micros(before), most)

    def consoles(self, before: datetime, most: int) -> OutdatedRows:
        """Return what the guests of sandboxes destroyed before had printed."""
        return self._found("consoles", micros(before), most)

    def tombstones(self, before: datetime, most: int) -> OutdatedRows:
        """Return destroyed sandboxes that nothing names any more."""
        return self._found("tombstones", micros(before), most)

    def events(self, before: datetime, most: int) -> OutdatedRows:
        """Return events, but never the newest, and none that is older than one that stays.

        So the journal has no holes, even where the clock was set: who resumes from a number that
        is still there has missed nothing.
        """
        bound = micros(before)
        oldest = self._cursor.rows(KINDS["events"].find, most)
        outdated = takewhile(lambda row: row[1] < bound, oldest)
        return OutdatedRows(kind="events", bound=bound, keys=tuple((row[0],) for row in outdated))

    def surplus_events(self, rows: int, most: int) -> OutdatedRows:
        """Return the oldest events beyond the newest `rows`, gaps in their numbers counted too."""
        return self._found("surplus events", rows, most)

    def remove(self, found: OutdatedRows) -> int:
        """Remove what was found, as far as it is still there and still outdated; return the count.

        Meanwhile an orphan may have been condemned by its tombstone, or a key been used again.
        """
        kind = KINDS[found.kind]
        gone = [
            key for key in found.keys if self._cursor.change(kind.remove, (*key, found.bound)) > 0
        ]
        if gone and kind.noted is not None:
            Settings(self._cursor, self._clock).raise_to(kind.noted, max(gone)[0])
        return len(gone)

    def _found(self, kind: str, bound: int, most: int) -> OutdatedRows:
        rows = self._cursor.rows(KINDS[kind].find, bound, most)
        return OutdatedRows(kind=kind, bound=bound, keys=tuple(map(tuple, rows)))
