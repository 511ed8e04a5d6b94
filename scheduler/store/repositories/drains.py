"""Drains: at most one ACTIVE a host, and an ended one never changes again."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, case, select

from scheduler.errors import Conflict
from scheduler.model import Drain, DrainState
from scheduler.store.options import ListOptions, Order, Page
from scheduler.store.repositories.repository import Repository
from scheduler.store.statements import Statement, inserted, overwritten, selected
from scheduler.store.tables import DRAINS

_TABLE = DRAINS.table
_COLUMNS = _TABLE.c

_INSERT = inserted(DRAINS)
_BY_ID = selected(DRAINS, "id")
_ACTIVE = Statement(
    select(_TABLE).where(
        _COLUMNS.host_id == bindparam("host"), _COLUMNS.state == DrainState.ACTIVE.value
    ),
    "host",
)
_LATEST = Statement(
    select(_TABLE)
    .where(_COLUMNS.host_id == bindparam("host"))
    .order_by(
        case((_COLUMNS.state == DrainState.ACTIVE.value, 0), else_=1),
        _COLUMNS.started_at.desc(),
        _COLUMNS.id.desc(),
    )
    .limit(1),
    "host",
)
_OVERWRITE = overwritten(DRAINS, "id", "state", keep=("id", "host_id", "started_at"))
_ORDER = Order(keys={"started_at": _COLUMNS.started_at}, id=_COLUMNS.id, default="started_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainFilter:
    """Which drains; everything given must hold."""

    host_id: str | None = None
    state: DrainState | None = None


class Drains(Repository):
    """The drains' repository."""

    __slots__ = ()

    def add(self, drain: Drain) -> Drain:
        """Write a new drain; `AlreadyExists` when the host has an active one."""
        self._insert(DRAINS, _INSERT, drain)
        return drain

    def get(self, id: str) -> Drain:
        """Return a drain; `NotFound` when there is none."""
        return self._one(DRAINS, _BY_ID, id)

    def active(self, host_id: str) -> Drain | None:
        """Return the host's drain in progress, if any."""
        return self._maybe(DRAINS, _ACTIVE, host_id)

    def latest(self, host_id: str) -> Drain | None:
        """Return the host's newest drain, in progress or ended.

        The one in progress is the newest even if the clock was set back since another began.
        """
        return self._maybe(DRAINS, _LATEST, host_id)

    def replace(self, drain: Drain, *, expected: DrainState = DrainState.ACTIVE) -> Drain:
        """Write a drain's progress or end; `Conflict` when it is not in the expected state."""
        parameters = [*DRAINS.row(drain), drain.id, expected.value]
        if not self._cursor.change(_OVERWRITE, parameters):
            current = self.get(drain.id)
            raise Conflict(
                f"the drain of host {current.host_name} is {current.state}, not {expected}",
                remedy="Start a new drain if the host is to be emptied.",
                details={"state": str(current.state)},
            )
        return drain

    def find(
        self, filter: DrainFilter | None = None, options: ListOptions | None = None
    ) -> Page[Drain]:
        """Return a page of the drains that match, newest first."""
        query = self._matching(DRAINS, filter or DrainFilter(), "host_id", "state")
        return self._page(DRAINS, query, _ORDER, options)
