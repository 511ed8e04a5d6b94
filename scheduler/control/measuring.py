"""The loops that only look: at the store, the records, the event loop and what does not add up."""

from __future__ import annotations

from scheduler.clock import Clock
from scheduler.control.loop import Loop, Pass
from scheduler.control.watchdog import writer_loop
from scheduler.store import Store

AUDIT_SECONDS = 300.0
"""What does not add up is nobody's haste, and comparing all there is costs."""


def measuring_loops(
    store: Store, clock: Clock, *, refresh: Pass, lag: Pass, audit: Pass
) -> tuple[Loop, ...]:
    """Return them; `refresh` reads the records for the metrics, `lag` times the event loop."""
    return (
        Loop("store", store.probe, every=2.0, limit=None, clock=clock),
        Loop("metrics", refresh, every=5.0, limit=None, clock=clock),
        Loop("lag", lag, every=1.0, limit=None, clock=clock),
        Loop("audit", audit, every=AUDIT_SECONDS, limit=None, clock=clock),
        writer_loop(store, clock),
    )
