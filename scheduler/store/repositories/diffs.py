"""Diffs: one an ordered pair of snapshots, computed once and then remembered."""

from __future__ import annotations

from sqlalchemy import select

from scheduler.model import Diff
from scheduler.store.options import ListOptions, Order, Page
from scheduler.store.repositories.repository import Repository, absent
from scheduler.store.statements import inserted, selected
from scheduler.store.tables import DIFFS

_COLUMNS = DIFFS.table.c
_INSERT = inserted(DIFFS)
_BY_ID = selected(DIFFS, "id")
_BETWEEN = selected(DIFFS, "sandbox_id", "from_snapshot", "to_snapshot")
_ORDER = Order(keys={"created_at": _COLUMNS.created_at}, id=_COLUMNS.id, default="created_at")


class Diffs(Repository):
    """The diffs' repository."""

    __slots__ = ()

    def add(self, diff: Diff) -> Diff:
        """Write a diff, or return the one that is stored for the same pair."""
        pair = (diff.sandbox_id, diff.from_snapshot, diff.to_snapshot)
        stored = self._maybe(DIFFS, _BETWEEN, *pair)
        if stored is not None:
            return stored
        self._insert(DIFFS, _INSERT, diff)
        return diff

    def get(self, id: str) -> Diff:
        """Return a diff; `NotFound` when there is none."""
        return self._one(DIFFS, _BY_ID, id)

    def between(self, sandbox_id: str, from_snapshot: str, to_snapshot: str) -> Diff:
        """Return what changed from one snapshot to another; `NotFound` when never computed."""
        pair = (sandbox_id, from_snapshot, to_snapshot)
        stored = self._maybe(DIFFS, _BETWEEN, *pair)
        if stored is None:
            raise absent(DIFFS, *pair)
        return stored

    def find(self, sandbox_id: str, options: ListOptions | None = None) -> Page[Diff]:
        """Return a page of a sandbox's diffs, newest first unless asked otherwise."""
        query = select(DIFFS.table).where(_COLUMNS.sandbox_id == sandbox_id)
        return self._page(DIFFS, query, _ORDER, options)
