"""Requests that may be sent twice: the second gets the first one's answer.

A twin that arrives while the first is still at work waits for it. That waiting is in memory, since
only one daemon serves a state; the answer itself is in the store and outlives a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TypeVar

from scheduler.clock import Clock
from scheduler.errors import Conflict, SandboxdError
from scheduler.model import IdempotencyRecord
from scheduler.service.intents import Answer, Intent, Keeping, Key, Repeated
from scheduler.store import Store

T = TypeVar("T")

KEPT_FOR = timedelta(hours=24)
"""Older answers are swept out; until then they are given."""


class KeptAnswers:
    """Has requests with a key carried out once, and lets twins take turns."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._turns: dict[tuple[str, str, str], _Turn] = {}

    async def once(
        self,
        key: Key,
        render: Callable[[T], Answer],
        perform: Callable[[Intent[T]], Awaitable[T]],
    ) -> T | Answer:
        """Return what `perform` returns, or the answer kept when it was done before.

        Raises `Conflict` when the key was used for another request.
        """
        async with self._turn(key):
            keeping = Keeping(key=key, at=self._clock.now(), render=render)
            try:
                return await perform(Intent(actor=key.actor, keeping=keeping))
            except Repeated as repeated:
                return _kept(key, repeated.record)
            except SandboxdError:
                # What cannot be done now may have been done when it was asked for first.
                record = await self._store.read(
                    lambda tx: tx.idempotency.get(key.actor, key.route, key.key)
                )
                if record is None:
                    raise
                return _kept(key, record)

    @asynccontextmanager
    async def _turn(self, key: Key) -> AsyncIterator[None]:
        identity = (key.actor, key.route, key.key)
        turn = self._turns.setdefault(identity, _Turn())
        turn.takers += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.takers -= 1
            if not turn.takers:
                del self._turns[identity]


class _Turn:
    """One key's queue."""

    __slots__ = ("lock", "takers")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.takers = 0


def _kept(key: Key, record: IdempotencyRecord) -> Answer:
    if record.body_hash != key.body_hash:
        raise Conflict(
            "this Idempotency-Key was used before for a different request",
            remedy="use a new key for a new request, or repeat the first one unchanged",
            details={"used_at": record.created_at.isoformat()},
        )
    return Answer(status=record.status, text=record.answer)
