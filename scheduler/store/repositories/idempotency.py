"""Kept answers: written in the intent's own transaction, so that a retry meets the same answer."""

from __future__ import annotations

from scheduler.model import IdempotencyRecord
from scheduler.store.repositories.repository import Repository
from scheduler.store.statements import inserted, selected
from scheduler.store.tables import IDEMPOTENCY

_INSERT = inserted(IDEMPOTENCY)
_BY_KEY = selected(IDEMPOTENCY, "actor", "route", "key")


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
