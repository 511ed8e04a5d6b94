"""The time that recorded ends are counted in, also between a step of the clock and its shift.

The clock guard shifts every recorded end by a step within a second (I10). What is written or judged
meanwhile must be counted in the old time, else the shift would move it twice. What a former boot
wrote down says nothing of this one, whose wall clock is trusted.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from scheduler.clock import Clock
from scheduler.lifecycle.clock_steps import step_of
from scheduler.store import Transaction

OFFSET_SETTING = "clock.offset"
"""Wall time minus boot time, as it was when the recorded ends were last shifted."""
BOOT_SETTING = "clock.boot_id"
"""The boot during which that was written down."""
READING_SECONDS = 0.05
"""Reading the two clocks may take this long; a reading that was interrupted says nothing."""
_READINGS = 3


def lease_time(tx: Transaction, clock: Clock) -> datetime:
    """Return the wall time without a step that the recorded ends have not followed yet.

    It must be read in the transaction that acts on it: the shift is committed by the same writer.
    """
    kept, offset = kept_offset(tx, clock), clock_offset(clock)
    if kept is None or offset is None:
        return clock.now()
    return clock.now() - (step_of(kept, offset, same_boot=True) or timedelta())


def kept_offset(tx: Transaction, clock: Clock) -> float | None:
    """Return the offset that was written down during this boot, if there is one."""
    if tx.settings.get(BOOT_SETTING) != clock.boot_id:
        return None
    text = tx.settings.get(OFFSET_SETTING)
    return None if text is None else float(text)


def clock_offset(clock: Clock) -> float | None:
    """Return wall time minus boot time; None when something came between the two every time.

    A process that is stopped for a while between two readings would else see a step.
    """
    for _ in range(_READINGS):
        before = clock.boottime()
        wall = clock.now().timestamp()
        if clock.boottime() - before <= READING_SECONDS:
            return wall - before
    return None
