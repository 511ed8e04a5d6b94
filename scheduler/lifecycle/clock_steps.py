"""Steps of the wall clock: what to add to every recorded end, so that none is early or late (I10).

CLOCK_REALTIME minus CLOCK_BOOTTIME is constant within one boot, since both follow the same slew;
only a step changes it. Across a reboot nothing can be told from it, and the wall clock is trusted:
a pause that seems to begin later than now was written down by a clock that was wrong, and is over.
"""

from __future__ import annotations

from datetime import datetime, timedelta

TOLERANCE_SECONDS = 0.5
"""Reading two clocks takes time; what is smaller is noise."""


def step_of(
    stored_offset: float,
    realtime_minus_boottime: float,
    same_boot: bool,
    tolerance: float = TOLERANCE_SECONDS,
) -> timedelta | None:
    """Return by how much the wall clock was stepped since `stored_offset` was taken, else None.

    All in seconds; positive is forward. Add it to every `expires_at`, and store the new offset in
    the same transaction, so that a step is never counted twice.
    """
    stepped = realtime_minus_boottime - stored_offset
    if not same_boot or abs(stepped) <= tolerance:
        return None
    return timedelta(seconds=stepped)


def pausing(until: datetime | None, since: datetime, now: datetime) -> bool:
    """Return whether a pause that was written down at `since` lasts still.

    It does not once the clock was set back to before it, else it would last as long as the step.
    """
    return until is not None and since <= now < until


def moved_pause(until: datetime, since: datetime, step: timedelta, now: datetime) -> datetime:
    """Return the end of a pause after a step; `now` is told by the clock that was set.

    Never later than the whole pause from now: it may have been written down after the step.
    """
    return min(until + step, now + (until - since))
