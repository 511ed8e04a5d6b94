"""A caller's intent: who asks, and how the answer is kept if they named it with a key.

An answer is written in the same unit of work as what it answers, so that a crash can never leave
one without the other. Services do not know what an answer looks like: `render` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from scheduler.model import IdempotencyRecord
from scheduler.store import Transaction

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
class Intent(Generic[T]):
    """Who asks, and, when the request carried a key, what its answer will look like."""

    actor: str
    key: Key | None = None
    render: Callable[[T], Answer] | None = None

    def keep(self, tx: Transaction, result: T, at: datetime) -> None:
        """Store the answer in the running unit of work; nothing to do without a key."""
        if self.key is None or self.render is None:
            return
        answer = self.render(result)
        tx.idempotency.add(
            IdempotencyRecord(
                actor=self.key.actor,
                route=self.key.route,
                key=self.key.key,
                body_hash=self.key.body_hash,
                status=answer.status,
                answer=answer.text,
                created_at=at,
            )
        )
