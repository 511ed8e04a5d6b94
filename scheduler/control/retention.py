"""Removes what was kept long enough, so that the database stays as small as the fleet is busy.

Each round looks on a reader's connection and removes in a short unit of work, so that no writer
waits for a long one. What is left after a pass's share is removed by the next one, soon. What a
clock makes old that is suddenly far ahead is spared until it has stayed so for a day.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import structlog

from scheduler.clock import Clock
from scheduler.control.pace import Keep
from scheduler.lifecycle.clock_trust import ClockTrust, Reading, ahead, judged
from scheduler.model import Event
from scheduler.service.clock_trust import clock_trust, keep_clock_trust, reading
from scheduler.store import OutdatedRows, Store, Transaction

BATCH = 500
"""Rows in one unit of work: a few milliseconds."""
BATCHES_A_PASS = 200
"""Beyond it a pass ends, and the next one goes on."""
PASS_SECONDS = 60.0
"""Likewise, on a disk so slow that the batches take as long."""
AGAIN_SECONDS = 1.0

Search = Callable[[Transaction], OutdatedRows]

_log = structlog.get_logger("scheduler.control")


class Retention:
    """Sweeps out what is old, from answers to events; `sweep` is a pass."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        keep: Keep,
        *,
        batch: int = BATCH,
        batches: int = BATCHES_A_PASS,
        pass_seconds: float = PASS_SECONDS,
    ) -> None:
        self._store = store
        self._clock = clock
        self._keep = keep
        self._batch = batch
        self._batches = batches
        self._pass_seconds = pass_seconds
        self._warned: Reading | None = None
        """The doubted reading that was told of: a pass may be a minute after the one before."""

    async def sweep(self) -> float | None:
        """Remove what is outdated; return when to go on if that was not all."""
        trust = await self._store.submit(partial(_judge, reading(self._clock)))
        warned, self._warned = self._warned, trust.doubted
        if trust.until is not None:
            if trust.doubted != warned:
                _log.warning("nothing outdated is removed", until=trust.until.isoformat())
            return None
        left, until = self._batches, self._clock.monotonic() + self._pass_seconds
        for kind, search in self._searches():
            removed = 0
            while left and (found := await self._store.read(search)):
                removed += await self._store.submit(partial(_remove, found))
                left = left - 1 if self._clock.monotonic() < until else 0
            if removed:
                _log.info("outdated", kind=kind, removed=removed)
        return None if left else AGAIN_SECONDS

    def _searches(self) -> tuple[tuple[str, Search], ...]:
        """Return how to find each kind, what names others before what is named."""
        now, keep, most = self._clock.now(), self._keep, self._batch

        def before(seconds: float) -> datetime:
            return now - timedelta(seconds=seconds)

        return (
            ("answers", lambda tx: tx.outdated.answers(before(keep.answers_seconds), most)),
            ("commands", lambda tx: tx.outdated.commands(before(keep.commands_seconds), most)),
            (
                "inspections",
                lambda tx: tx.outdated.inspections(before(keep.commands_seconds), most),
            ),
            (
                "playbook runs",
                lambda tx: tx.outdated.playbook_runs(before(keep.commands_seconds), most),
            ),
            ("ssh", lambda tx: tx.outdated.ssh_certificates(before(keep.ssh_seconds), most)),
            ("ssh", lambda tx: tx.outdated.ssh_sessions(before(keep.ssh_seconds), most)),
            ("diffs", lambda tx: tx.outdated.diffs(before(keep.tombstones_seconds), most)),
            ("consoles", lambda tx: tx.outdated.consoles(before(keep.tombstones_seconds), most)),
            (
                "tombstones",
                lambda tx: tx.outdated.tombstones(before(keep.tombstones_seconds), most),
            ),
            ("decisions", lambda tx: tx.outdated.decisions(before(keep.decisions_seconds), most)),
            ("events", lambda tx: tx.outdated.events(before(keep.events_seconds), most)),
            ("events", lambda tx: tx.outdated.surplus_events(keep.events_rows, most)),
        )


def _remove(found: OutdatedRows, tx: Transaction) -> int:
    return tx.outdated.remove(found)


def _judge(now: Reading, tx: Transaction) -> ClockTrust:
    """Write down what is thought of the clock, with an event when it begins to be doubted."""
    before = clock_trust(tx)
    trust = judged(before, now)
    keep_clock_trust(tx, trust)
    if trust.until is not None and (before is None or trust.doubted != before.doubted):
        seconds = ahead(trust).total_seconds()
        tx.events.add(
            Event(
                at=now.at,
                kind="clock.doubted",
                reason_code="clock_ahead",
                message=f"the wall clock is {seconds:.0f} s ahead of what has passed: nothing that "
                f"is kept is removed before {trust.until:%Y-%m-%d %H:%M} UTC; set it right until "
                "then if it is wrong",
                evidence={"seconds": seconds},
            )
        )
    return trust
