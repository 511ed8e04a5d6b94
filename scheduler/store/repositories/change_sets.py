"""Change sets: a job may have several, and the newest speaks for it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, or_, select

from scheduler.errors import Conflict
from scheduler.model import ChangeSet, ChangeSetState
from scheduler.store.options import ListOptions, Order, Page
from scheduler.store.repositories.repository import Repository
from scheduler.store.statements import Statement, inserted, overwritten, selected
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
_UNFINISHED = Statement(
    select(CHANGE_SETS.table)
    .where(
        or_(
            _COLUMNS.state == ChangeSetState.PENDING.value,
            _COLUMNS.state == ChangeSetState.CHECKING.value,
        )
    )
    .order_by(_COLUMNS.created_at, _COLUMNS.id)
)
_OVERWRITE = overwritten(CHANGE_SETS, "id", "state", keep=("id", "created_at"))
_ORDER = Order(keys={"created_at": _COLUMNS.created_at}, id=_COLUMNS.id, default="created_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSetFilter:
    """Which change sets; everything given must hold."""

    job_id: str | None = None
    sandbox_id: str | None = None
    diff_id: str | None = None


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

    def unfinished(self) -> tuple[ChangeSet, ...]:
        """Return the change sets that have work to do, the oldest first."""
        return self._readable(CHANGE_SETS, _UNFINISHED)

    def replace(self, change_set: ChangeSet, *, expected: ChangeSetState) -> ChangeSet:
        """Write a change set that was in the expected state; `Conflict` when it is in another."""
        parameters = [*CHANGE_SETS.row(change_set), change_set.id, expected.value]
        if not self._change(CHANGE_SETS, _OVERWRITE, parameters, change_set):
            current = self.get(change_set.id)
            raise Conflict(
                f"change set {current.id} is {current.state}, not {expected}",
                remedy="Look at it again and decide anew.",
                details={"state": str(current.state)},
            )
        return change_set

    def find(
        self, filter: ChangeSetFilter | None = None, options: ListOptions | None = None
    ) -> Page[ChangeSet]:
        """Return a page of the change sets that match, newest first unless asked otherwise."""
        wanted = filter or ChangeSetFilter()
        query = self._matching(CHANGE_SETS, wanted, "job_id", "sandbox_id", "diff_id")
        return self._page(CHANGE_SETS, query, _ORDER, options)
