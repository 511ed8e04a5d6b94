"""Removes what was kept long enough, so that the database stays as small as the fleet is busy.

Each round looks on a reader's connection and removes in a short unit of work, so that no writer
waits for a long one. What is left after a pass's share is removed by the next one, soon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial

import structlog

from scheduler.clock import Clock
from scheduler.control.pace import Keep
from scheduler.store import Outdated, Store, Transaction

BATCH = 500
"""Rows in one unit of work: a few milliseconds."""
BATCHES_A_PASS = 200
"""Beyond it a pass ends, and the next one goes on."""
AGAIN_SECONDS = 1.0

Search = Callable[[Transaction], Outdated]

_log = structlog.get_logger("scheduler.control")


class Retention:
    """Sweeps out old answers, commands, tombstones, decisions and events; `sweep` is a pass."""

    def __init__(self, store: Store, clock: Clock, keep: Keep) -> None:
        self._store = store
        self._clock = clock
        self._keep = keep

    async def sweep(self) -> float | None:
        """Remove what is outdated; return when to go on if that was not all."""
        left = BATCHES_A_PASS
        for search in self._searches():
            removed = 0
            while left and (found := await self._store.read(search)):
                removed += await self._store.submit(partial(_remove, found))
                left -= 1
            if removed:
                _log.info("outdated", kind=search.__name__, removed=removed)
        return None if left else AGAIN_SECONDS

    def _searches(self) -> Iterator[Search]:
        """Yield how to find each kind, what names others before what is named."""
        now, keep = self._clock.now(), self._keep

        def since(seconds: float) -> timedelta:
            return timedelta(seconds=seconds)

        answers, commands = now - since(keep.answers_seconds), now - since(keep.commands_seconds)
        tombstones = now - since(keep.tombstones_seconds)
        decisions, events = now - since(keep.decisions_seconds), now - since(keep.events_seconds)
        yield _named("answers", lambda tx: tx.outdated.answers(answers, BATCH))
        yield _named("commands", lambda tx: tx.outdated.commands(commands, BATCH))
        yield _named("tombstones", lambda tx: tx.outdated.tombstones(tombstones, BATCH))
        yield _named("decisions", lambda tx: tx.outdated.decisions(decisions, BATCH))
        yield _named("events", lambda tx: tx.outdated.events(events, BATCH))
        yield _named("events", lambda tx: tx.outdated.surplus_events(keep.events_rows, BATCH))


def _named(name: str, search: Search) -> Search:
    search.__name__ = name
    return search


def _remove(found: Outdated, tx: Transaction) -> int:
    return tx.outdated.remove(found)
