"""Change sets: a job may have several, and the newest speaks for it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, select

from scheduler.model import ChangeSet
from scheduler.store.options import ListOptions, Order, Page
from scheduler.store.repositories.repository import Repository
from scheduler.store.statements import Statement, inserted, selected
from scheduler.store.tables import CHANGE_SETS

_COLUMNS = CHANGE_SETS.table.c
_INSERT = inserted(CHANGE_SETS)
_BY_ID = selected(CHANGE_SETS, "id")
_BY_JOB = Statement(
    select(CHANGE_SETS.table)
    .where(_COLUMNS.job_id == bindparam("job"))
    .order_by(_COLUMNS.created_at.desc(), _COLUMNS.id.desc())
    .limit(1),
    "job",
)
_ORDER = Order(keys={"created_at": _COLUMNS.created_at}, id=_COLUMNS.id, default="created_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSetFilter:
    """Which change sets; everything given must hold."""

    job_id: str | None = None
    sandbox_id: str | None = None


class ChangeSets(Repository):
    """The change sets' repository."""

    __slots__ = ()

    def add(self, change_set: ChangeSet) -> ChangeSet:
        """Write a change set beside the job's earlier ones."""
        self._insert(CHANGE_SETS, _INSERT, change_set)
        return change_set

    def get(self, id: str) -> ChangeSet:
        """Return a change set; `NotFound` when there is none."""
        return self._one(CHANGE_SETS, _BY_ID, id)

    def by_job(self, job_id: str) -> ChangeSet:
        """Return a job's newest change set; `NotFound` when it has none."""
        return self._one(CHANGE_SETS, _BY_JOB, job_id)

    def find(
        self, filter: ChangeSetFilter | None = None, options: ListOptions | None = None
    ) -> Page[ChangeSet]:
        """Return a page of the change sets that match, newest first unless asked otherwise."""
        wanted = filter or ChangeSetFilter()
        query = self._matching(CHANGE_SETS, wanted, "job_id", "sandbox_id")
        return self._page(CHANGE_SETS, query, _ORDER, options)
