"""Snapshots of a sandbox, named once each."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import bindparam, func, select

from scheduler.model import Snapshot, SnapshotKind, SnapshotState
from scheduler.store.options import ListOptions, Order, Page
from scheduler.store.repositories.repository import Repository, absent
from scheduler.store.statements import Statement, inserted, overwritten, removed, selected
from scheduler.store.tables import SANDBOXES, SNAPSHOTS

_COLUMNS = SNAPSHOTS.table.c
_INSERT = inserted(SNAPSHOTS)
_BY_ID = selected(SNAPSHOTS, "id")
_BY_NAME = selected(SNAPSHOTS, "sandbox_id", "name")
_OVERWRITE = overwritten(SNAPSHOTS, "id", keep=("id", "sandbox_id", "created_at"))
_REMOVE = removed(SNAPSHOTS, "id")
_OF_SANDBOX = Statement(
    select(SNAPSHOTS.table)
    .where(_COLUMNS.sandbox_id == bindparam("of"))
    .order_by(_COLUMNS.created_at, _COLUMNS.id),
    "of",
)
_OPEN = (
    select(SNAPSHOTS.table)
    .where(
        _COLUMNS.state != SnapshotState.READY.value, _COLUMNS.state != SnapshotState.FAILED.value
    )
    .order_by(_COLUMNS.created_at, _COLUMNS.id)
)
_UNFINISHED = Statement(_OPEN)
_UNFINISHED_ON = Statement(
    _OPEN.join(SANDBOXES.table, SANDBOXES.table.c.id == _COLUMNS.sandbox_id).where(
        SANDBOXES.table.c.host_id == bindparam("host"), SANDBOXES.table.c.deleted_at.is_(None)
    ),
    "host",
)
_OF_HOST = Statement(
    select(SNAPSHOTS.table)
    .join(SANDBOXES.table, SANDBOXES.table.c.id == _COLUMNS.sandbox_id)
    .where(SANDBOXES.table.c.host_id == bindparam("host"), SANDBOXES.table.c.deleted_at.is_(None))
    .order_by(_COLUMNS.created_at, _COLUMNS.id),
    "host",
)
_COUNTS = Statement(
    select(_COLUMNS.kind, _COLUMNS.state, func.count()).group_by(_COLUMNS.kind, _COLUMNS.state)
)
_MANIFESTS = Statement(
    select(_COLUMNS.manifest_ref).where(_COLUMNS.manifest_ref.is_not(None)).distinct()
)
_ORDER = Order(
    keys={"created_at": _COLUMNS.created_at, "name": _COLUMNS.name},
    id=_COLUMNS.id,
    default="created_at",
)


_KINDS = frozenset(kind.value for kind in SnapshotKind)
_STATES = frozenset(state.value for state in SnapshotState)


class Snapshots(Repository):
    """The snapshots' repository."""

    __slots__ = ()

    def add(self, snapshot: Snapshot) -> Snapshot:
        """Write a new snapshot; `AlreadyExists` when the sandbox has one of its name."""
        self._insert(SNAPSHOTS, _INSERT, snapshot)
        return snapshot

    def get(self, id: str) -> Snapshot:
        """Return a snapshot; `NotFound` when there is none."""
        return self._one(SNAPSHOTS, _BY_ID, id)

    def by_name(self, sandbox_id: str, name: str) -> Snapshot:
        """Return a sandbox's snapshot of this name; `NotFound` when it has none."""
        return self._one(SNAPSHOTS, _BY_NAME, sandbox_id, name)

    def find(self, sandbox_id: str, options: ListOptions | None = None) -> Page[Snapshot]:
        """Return a page of a sandbox's snapshots, newest first unless asked otherwise."""
        query = select(SNAPSHOTS.table).where(_COLUMNS.sandbox_id == sandbox_id)
        return self._page(SNAPSHOTS, query, _ORDER, options)

    def of_sandbox(self, sandbox_id: str) -> tuple[Snapshot, ...]:
        """Return every snapshot of a sandbox, oldest first."""
        return self._all(SNAPSHOTS, _OF_SANDBOX, sandbox_id)

    def unfinished(self) -> tuple[Snapshot, ...]:
        """Return the snapshots for which something is still to be done on a host."""
        return self._readable(SNAPSHOTS, _UNFINISHED)

    def of_host(self, host_id: str) -> tuple[Snapshot, ...]:
        """Return the snapshots of the live sandboxes that are placed on a host, oldest first."""
        return self._all(SNAPSHOTS, _OF_HOST, host_id)

    def unfinished_on(self, host_id: str) -> tuple[Snapshot, ...]:
        """Return those of the live sandboxes that are placed on a host."""
        return self._readable(SNAPSHOTS, _UNFINISHED_ON, host_id)

    def counts(self) -> Mapping[tuple[SnapshotKind, SnapshotState], int]:
        """Return how many snapshots there are of each kind in each state."""
        return {
            (SnapshotKind(kind), SnapshotState(state)): count
            for kind, state, count in self._cursor.rows(_COUNTS)
            if kind in _KINDS and state in _STATES
        }

    def manifest_refs(self) -> frozenset[str]:
        """Return what the manifests of all snapshots are kept under."""
        return frozenset(ref for (ref,) in self._cursor.rows(_MANIFESTS))

    def replace(self, snapshot: Snapshot) -> Snapshot:
        """Write a snapshot over its former self; its sandbox and its age cannot change."""
        parameters = [*SNAPSHOTS.row(snapshot), snapshot.id]
        if not self._change(SNAPSHOTS, _OVERWRITE, parameters, snapshot):
            raise absent(SNAPSHOTS, snapshot.id)
        return self.get(snapshot.id)

    def remove(self, id: str) -> None:
        """Remove a snapshot's record; `NotFound` when there is none."""
        if not self._cursor.change(_REMOVE, (id,)):
            raise absent(SNAPSHOTS, id)
