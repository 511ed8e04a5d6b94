"""Diffs: one an ordered pair of snapshots, computed once and then remembered.

Asked for from other inputs (other noise, or snapshots that only bear the same names), the pair's
diff is written anew, unless code was made from it.
"""

from __future__ import annotations

import re
from dataclasses import replace

from sqlalchemy import bindparam, select

from scheduler.errors import Conflict
from scheduler.model import Diff
from scheduler.store.options import ListOptions, Order, Page
from scheduler.store.repositories.repository import Repository, absent
from scheduler.store.statements import Statement, inserted, overwritten, selected
from scheduler.store.tables import CHANGE_SETS, DIFFS

_COLUMNS = DIFFS.table.c
_INSERT = inserted(DIFFS)
_BY_ID = selected(DIFFS, "id")
_BETWEEN = selected(DIFFS, "sandbox_id", "from_snapshot", "to_snapshot")
_OVERWRITE = overwritten(DIFFS, "id", keep=("id", "sandbox_id"))
_OF_DIFF = selected(CHANGE_SETS, "diff_id")
_MANIFESTS = Statement(select(_COLUMNS.manifests).distinct())
_NEXT_DELTA = Statement(
    select(_COLUMNS.id, _COLUMNS.delta)
    .where(_COLUMNS.id > bindparam("after"), _COLUMNS.delta.is_not(None))
    .order_by(_COLUMNS.id)
    .limit(1),
    "after",
)
_DIGEST = re.compile(r'"([0-9a-f]{64})"')
_ORDER = Order(keys={"created_at": _COLUMNS.created_at}, id=_COLUMNS.id, default="created_at")


class Diffs(Repository):
    """The diffs' repository."""

    __slots__ = ()

    def add(self, diff: Diff) -> Diff:
        """Write a diff, or return the one that is stored for the same pair and inputs.

        Raises `Conflict` when that was computed from other inputs and code was made from it.
        """
        pair = (diff.sandbox_id, diff.from_snapshot, diff.to_snapshot)
        stored = self._maybe(DIFFS, _BETWEEN, *pair)
        if stored is None:
            self._insert(DIFFS, _INSERT, diff)
            return diff
        if stored.inputs == diff.inputs:
            return stored
        if self._maybe(CHANGE_SETS, _OF_DIFF, stored.id) is not None:
            raise Conflict(
                f"a change set was made from the diff of these snapshots, {stored.id},"
                " which was computed with other noise or other snapshots of these names",
                remedy="ask with the noise it has, or make a new snapshot under another name",
                details={"diff_id": stored.id, "noise": list(stored.noise)},
            )
        anew = replace(diff, id=stored.id)
        self._change(DIFFS, _OVERWRITE, [*DIFFS.row(anew), stored.id], anew)
        return anew

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

    def manifest_refs(self) -> frozenset[str]:
        """Return what the manifests are kept under that diffs were computed from."""
        stored = (DIFFS.decode("manifests", value) for (value,) in self._cursor.rows(_MANIFESTS))
        return frozenset(ref for pair in stored for ref in pair)

    def digests(self, after: str) -> tuple[str, frozenset[str]] | None:
        """Return the id of the first diff beyond `after`, and every digest in what it found.

        Its text is searched and not understood: it may be long, and what looks like a digest but
        is none does no harm.
        """
        row = self._cursor.row(_NEXT_DELTA, after)
        return None if row is None else (row[0], frozenset(_DIGEST.findall(row[1])))

    def find(self, sandbox_id: str, options: ListOptions | None = None) -> Page[Diff]:
        """Return a page of a sandbox's diffs, newest first unless asked otherwise."""
        query = select(DIFFS.table).where(_COLUMNS.sandbox_id == sandbox_id)
        return self._page(DIFFS, query, _ORDER, options)
