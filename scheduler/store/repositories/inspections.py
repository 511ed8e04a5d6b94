"""Inspections: written when they are asked for, and ended once."""

from __future__ import annotations

from sqlalchemy import select

from scheduler.errors import Conflict
from scheduler.model import Inspection, InspectionStatus
from scheduler.store.options import ListOptions, Order, Page
from scheduler.store.repositories.repository import Repository
from scheduler.store.statements import Statement, constant, inserted, overwritten, selected
from scheduler.store.tables import INSPECTIONS

_TABLE = INSPECTIONS.table
_COLUMNS = _TABLE.c
_INSERT = inserted(INSPECTIONS)
_BY_ID = selected(INSPECTIONS, "id")
_WAITING = Statement(
    select(_TABLE)
    .where(_COLUMNS.status == constant(InspectionStatus.WAITING.value))
    .order_by(_COLUMNS.asked_at, _COLUMNS.id)
)
_FINISH = overwritten(INSPECTIONS, "id", "status", keep=("id", "source_id", "asked_at"))
_ORDER = Order(keys={"asked_at": _COLUMNS.asked_at}, id=_COLUMNS.id, default="asked_at")


class Inspections(Repository):
    """The inspections' repository."""

    __slots__ = ()

    def add(self, inspection: Inspection) -> Inspection:
        """Write one that is to be taken."""
        self._insert(INSPECTIONS, _INSERT, inspection)
        return inspection

    def get(self, id: str) -> Inspection:
        """Return one; `NotFound` when there is none."""
        return self._one(INSPECTIONS, _BY_ID, id)

    def waiting(self) -> tuple[Inspection, ...]:
        """Return those that have not ended, the oldest first."""
        return self._readable(INSPECTIONS, _WAITING)

    def find(self, source_id: str, options: ListOptions | None = None) -> Page[Inspection]:
        """Return a page of a source's, newest first."""
        query = select(_TABLE).where(_COLUMNS.source_id == source_id)
        return self._page(INSPECTIONS, query, _ORDER, options)

    def finish(self, inspection: Inspection) -> Inspection:
        """Write how one ended that was waiting; else `Conflict`."""
        parameters = [
            *INSPECTIONS.row(inspection),
            inspection.id,
            InspectionStatus.WAITING.value,
        ]
        if not self._cursor.change(_FINISH, parameters):
            current = self.get(inspection.id)
            raise Conflict(
                f"inspection {current.id} has ended already: it is {current.status}",
                remedy="Read it again.",
                details={"status": str(current.status)},
            )
        return inspection
