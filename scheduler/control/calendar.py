"""Calendar work: APScheduler wakes a loop, and the loop does the work.

Deadlines that matter live in tables, never in the scheduler's memory, since it stalls when the wall
clock steps back and skips what is late by default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler


@contextmanager
def waking(wake: Callable[[], None], *, every: timedelta) -> Iterator[None]:
    """Call `wake` once in every interval, late rather than never, until the block is left."""
    calendar = AsyncIOScheduler(
        timezone=UTC,
        job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
    )
    calendar.add_job(wake, "interval", seconds=every.total_seconds())
    calendar.start()
    try:
        yield
    finally:
        calendar.shutdown(wait=False)
