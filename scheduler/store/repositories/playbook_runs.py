"""Runs of playbooks: every write names the generation that it has read."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import select

from scheduler.errors import Conflict
from scheduler.model import PlaybookRun
from scheduler.store.options import ListOptions, Order, Page
from scheduler.store.repositories.repository import Repository
from scheduler.store.statements import Statement, inserted, overwritten, selected
from scheduler.store.tables import PLAYBOOK_RUNS

_TABLE = PLAYBOOK_RUNS.table
_COLUMNS = _TABLE.c
_INSERT = inserted(PLAYBOOK_RUNS)
_BY_ID = selected(PLAYBOOK_RUNS, "id")
_UNFINISHED = Statement(
    select(_TABLE).where(_COLUMNS.ended_at.is_(None)).order_by(_COLUMNS.asked_at, _COLUMNS.id)
)
_OVERWRITE = overwritten(PLAYBOOK_RUNS, "id", "generation", keep=("id", "playbook_id", "asked_at"))
_ORDER = Order(keys={"asked_at": _COLUMNS.asked_at}, id=_COLUMNS.id, default="asked_at")


class PlaybookRuns(Repository):
    """The runs' repository."""

    __slots__ = ()

    def add(self, run: PlaybookRun) -> PlaybookRun:
        """Write one that is to be played."""
        self._insert(PLAYBOOK_RUNS, _INSERT, run)
        return run

    def get(self, id: str) -> PlaybookRun:
        """Return one; `NotFound` when there is none."""
        return self._one(PLAYBOOK_RUNS, _BY_ID, id)

    def unfinished(self) -> tuple[PlaybookRun, ...]:
        """Return those that have work to do, the oldest first."""
        return self._readable(PLAYBOOK_RUNS, _UNFINISHED)

    def find(self, playbook_id: str, options: ListOptions | None = None) -> Page[PlaybookRun]:
        """Return a page of a playbook's, newest first."""
        query = select(_TABLE).where(_COLUMNS.playbook_id == playbook_id)
        return self._page(PLAYBOOK_RUNS, query, _ORDER, options)

    def replace(self, run: PlaybookRun) -> PlaybookRun:
        """Write a run as it was read but for its changes; `Conflict` when it moved on."""
        written = replace(run, generation=run.generation + 1, updated_at=self._clock.now())
        parameters = [*PLAYBOOK_RUNS.row(written), run.id, run.generation]
        if not self._change(PLAYBOOK_RUNS, _OVERWRITE, parameters, written):
            raise Conflict(f"run {run.id} was changed meanwhile", remedy="Read it again.")
        return written
