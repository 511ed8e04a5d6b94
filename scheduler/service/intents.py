"""A caller's intent: who asks, and how the answer is kept if they named it with a key.

An answer is looked for and kept in the very unit of work it answers, so that a crash can never
leave one without the other. Services do not know what an answer looks like: `render` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial, wraps
from typing import Generic, TypeVar

from scheduler.model import IdempotencyRecord
from scheduler.store import Transaction, Unit

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What makes two requests the same one."""

    actor: str
    route: str
    key: str
    body_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer as it is sent: HTTP status and JSON text."""

    status: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping(Generic[T]):
    """How the answer to a request with a key is kept."""

    key: Key
    at: datetime
    render: Callable[[T], Answer]


class Repeated(Exception):
    """The key was used before: nothing was done, and `record` has what was answered then."""

    def __init__(self, record: IdempotencyRecord) -> None:
        super().__init__(record.key)
        self.record = record


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent(Generic[T]):
    """Who asks, and, when the request carried a key, how its answer is kept."""

    actor: str
    keeping: Keeping[T] | None = None

    def once(self, unit: Unit[T]) -> Unit[T]:
        """Return the unit, under its own name, carried out once for its key: then `Repeated`."""
        keeping = self.keeping
        if keeping is None:
            return unit
        return wraps(unit)(partial(_once, unit, keeping))

    def unused(self, tx: Transaction) -> None:
        """Raise `Repeated` if the key was used: for what acts before the unit that answers."""
        if self.keeping is not None:
            _unused(self.keeping.key, tx)


def _unused(key: Key, tx: Transaction) -> None:
    before = tx.idempotency.get(key.actor, key.route, key.key)
    if before is not None:
        raise Repeated(before)


def _once(unit: Unit[T], keeping: Keeping[T], tx: Transaction) -> T:
    key = keeping.key
    _unused(key, tx)
    result = unit(tx)
    answer = keeping.render(result)
    tx.idempotency.add(
        IdempotencyRecord(
            actor=key.actor,
            route=key.route,
            key=key.key,
            body_hash=key.body_hash,
            status=answer.status,
            answer=answer.text,
            created_at=keeping.at,
        )
    )
    return result
