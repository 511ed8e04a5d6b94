"""Requests that may be sent twice: the second gets the first one's answer.

A twin that arrives while the first is still at work waits for it. That waiting is in memory, since
only one daemon serves a state; the answer itself is in the store and outlives a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from scheduler.errors import Conflict
from scheduler.service.intents import Answer, Key
from scheduler.store import Store

KEPT_FOR = timedelta(hours=24)
"""Older answers are purged; until then they are given."""


class KeptAnswers:
    """Finds what was answered before, and lets twins take turns."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turns: dict[tuple[str, str, str], _Turn] = {}

    @asynccontextmanager
    async def turn(self, key: Key) -> AsyncIterator[Answer | None]:
        """Wait for a twin at work, then yield the kept answer, None when this is the first.

        Raises `Conflict` when the key was used for another body.
        """
        identity = (key.actor, key.route, key.key)
        turn = self._turns.setdefault(identity, _Turn())
        turn.takers += 1
        try:
            async with turn.lock:
                yield await self._find(key)
        finally:
            turn.takers -= 1
            if not turn.takers:
                del self._turns[identity]

    async def _find(self, key: Key) -> Answer | None:
        record = await self._store.read(
            lambda tx: tx.idempotency.get(key.actor, key.route, key.key)
        )
        if record is None:
            return None
        if record.body_hash != key.body_hash:
            raise Conflict(
                "this Idempotency-Key was used before for a different request",
                remedy="use a new key for a new request, or repeat the first one unchanged",
                details={"used_at": record.created_at.isoformat()},
            )
        return Answer(status=record.status, text=record.answer)


class _Turn:
    """One key's queue."""

    __slots__ = ("lock", "takers")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.takers = 0
