"""Tasks of a playbook: every position is held once, and reordering names every task."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, func, select, update

from scheduler.errors import Invalid
from scheduler.model import PlaybookTask
from scheduler.store.options import ListOptions, Order, Page
from scheduler.store.repositories.repository import Repository, absent
from scheduler.store.statements import Statement, inserted, overwritten, removed, selected
from scheduler.store.tables import PLAYBOOK_TASKS

_TABLE = PLAYBOOK_TASKS.table
_COLUMNS = _TABLE.c
_INSERT = inserted(PLAYBOOK_TASKS)
_BY_ID = selected(PLAYBOOK_TASKS, "id")
_OVERWRITE = overwritten(PLAYBOOK_TASKS, "id", keep=("id", "playbook_id", "created_at"))
_REMOVE = removed(PLAYBOOK_TASKS, "id")
_OF_PLAYBOOK = Statement(
    select(_TABLE).where(_COLUMNS.playbook_id == bindparam("playbook")).order_by(_COLUMNS.position),
    "playbook",
)
_LAST = Statement(
    select(func.max(_COLUMNS.position)).where(_COLUMNS.playbook_id == bindparam("playbook")),
    "playbook",
)
_MOVE = Statement(
    update(_TABLE)
    .where(_COLUMNS.id == bindparam("task"))
    .values(position=bindparam("new_position")),
    "task",
    "new_position",
)
_ORDER = Order(
    keys={name: _COLUMNS[name] for name in ("position", "created_at", "name")},
    id=_COLUMNS.id,
    default="position",
    default_asc=True,
)


class PlaybookTasks(Repository):
    """The tasks' repository."""

    __slots__ = ()

    def add(self, task: PlaybookTask) -> PlaybookTask:
        """Write a new task; `AlreadyExists` when its position is held, `Invalid` below 0."""
        _check(task)
        self._insert(PLAYBOOK_TASKS, _INSERT, task)
        return task

    def get(self, id: str) -> PlaybookTask:
        """Return a task; `NotFound` when there is none."""
        return self._one(PLAYBOOK_TASKS, _BY_ID, id)

    def find(self, playbook_id: str, options: ListOptions | None = None) -> Page[PlaybookTask]:
        """Return a page of a playbook's tasks, by position unless asked otherwise.

        Raises `Unreadable`: without one of its tasks it is another playbook.
        """
        query = select(_TABLE).where(_COLUMNS.playbook_id == playbook_id)
        return self._page(PLAYBOOK_TASKS, query, _ORDER, options, whole=True)

    def replace(self, task: PlaybookTask) -> PlaybookTask:
        """Write a task over its former self; its playbook and its age cannot change."""
        _check(task)
        parameters = [*PLAYBOOK_TASKS.row(task), task.id]
        if not self._change(PLAYBOOK_TASKS, _OVERWRITE, parameters, task):
            raise absent(PLAYBOOK_TASKS, task.id)
        return self.get(task.id)

    def remove(self, id: str) -> None:
        """Remove a task and leave its position empty; `NotFound` when there is none."""
        if not self._cursor.change(_REMOVE, (id,)):
            raise absent(PLAYBOOK_TASKS, id)

    def reorder(self, playbook_id: str, task_ids: Sequence[str]) -> tuple[PlaybookTask, ...]:
        """Give the tasks the positions 0, 1, 2 ... in this order; it must name each once."""
        tasks = self._all(PLAYBOOK_TASKS, _OF_PLAYBOOK, playbook_id)
        if sorted(task_ids) != sorted(task.id for task in tasks):
            raise Invalid(
                f"the order must name each of the {len(tasks)} tasks exactly once",
                remedy="Read the playbook's tasks again and give the complete list.",
                details={"task_ids": f"must be the {len(tasks)} ids of the playbook's tasks"},
            )
        # Two passes: no position may be held twice even in between.
        for position, task_id in enumerate(task_ids):
            self._cursor.change(_MOVE, (task_id, -1 - position))
        for position, task_id in enumerate(task_ids):
            self._cursor.change(_MOVE, (task_id, position))
        return self._all(PLAYBOOK_TASKS, _OF_PLAYBOOK, playbook_id)

    def next_position(self, playbook_id: str) -> int:
        """Return the position after a playbook's last task, 0 when it has none."""
        row = self._cursor.row(_LAST, playbook_id)
        return 0 if row is None or row[0] is None else int(row[0]) + 1


def _check(task: PlaybookTask) -> None:
    if task.position < 0:
        raise Invalid(
            "position must not be negative",
            remedy="Count from 0.",
            details={"position": "must not be negative"},
        )
