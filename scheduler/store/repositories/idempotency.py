"""Kept answers: written in the intent's own transaction, so that a retry meets the same answer."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, delete

from scheduler.model import IdempotencyRecord
from scheduler.store.repositories.repository import Repository
from scheduler.store.statements import Statement, inserted, selected
from scheduler.store.tables import IDEMPOTENCY
from scheduler.store.values import micros

_INSERT = inserted(IDEMPOTENCY)
_BY_KEY = selected(IDEMPOTENCY, "actor", "route", "key")
_PURGE = Statement(
    delete(IDEMPOTENCY.table).where(IDEMPOTENCY.table.c.created_at < bindparam("before")),
    "before",
)


class Idempotency(Repository):
    """The kept answers' repository."""

    __slots__ = ()

    def get(self, actor: str, route: str, key: str) -> IdempotencyRecord | None:
        """Return the kept answer, or None when the key is new to this actor and route."""
        return self._maybe(IDEMPOTENCY, _BY_KEY, actor, route, key)

    def add(self, record: IdempotencyRecord) -> IdempotencyRecord:
        """Keep an answer; `AlreadyExists` when a twin was first."""
        self._insert(IDEMPOTENCY, _INSERT, record)
        return record

    def purge(self, before: datetime) -> int:
        """Remove answers older than `before` and return how many."""
        return self._cursor.change(_PURGE, (micros(before),))
