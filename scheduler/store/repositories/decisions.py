"""Placement decisions: written once, with the claim they led to or the refusal they were."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from scheduler.model import Decision
from scheduler.store.repositories.repository import Repository
from scheduler.store.statements import Statement, inserted, selected
from scheduler.store.tables import DECISIONS

_TABLE = DECISIONS.table
_INSERT = inserted(DECISIONS)
_BY_ID = selected(DECISIONS, "id")
_OF_SANDBOX = Statement(
    select(_TABLE)
    .where(_TABLE.c.sandbox_id == bindparam("sandbox"))
    .order_by(_TABLE.c.created_at, _TABLE.c.id),
    "sandbox",
)


class Decisions(Repository):
    """The decisions' repository."""

    __slots__ = ()

    def add(self, decision: Decision) -> Decision:
        """Write a decision."""
        self._insert(DECISIONS, _INSERT, decision)
        return decision

    def get(self, id: str) -> Decision:
        """Return a decision; `NotFound` when there is none."""
        return self._one(DECISIONS, _BY_ID, id)

    def of_sandbox(self, sandbox_id: str) -> tuple[Decision, ...]:
        """Return a sandbox's decisions, oldest first: more than one when a host failed it."""
        return self._all(DECISIONS, _OF_SANDBOX, sandbox_id)
