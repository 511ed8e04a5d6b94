"""Whether the clock may be believed by what removes for good; a wrong one makes everything old.

A clock that is suddenly far ahead of what has passed is doubted. It is believed once it has stayed
so for a day, in which somebody can set it right. Going back makes nothing old, and is believed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

FAR = timedelta(hours=1)
"""Within a boot: what passed is known, so this is a step."""
FAR_ACROSS_BOOTS = timedelta(days=1)
"""Nobody knows for how long a machine was off; a longer time is waited out."""
DOUBTED_FOR = timedelta(days=1)
BASE_FOR = timedelta(days=1)
"""Within a boot: for how long at least gains add up, however often the clock is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the wall clock and the boot clock said in one moment."""

    at: datetime
    boot_id: str
    boot_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockTrust:
    """The last reading that was believed, and since when others are doubted, if they are."""

    believed: Reading
    doubted: Reading | None = None
    latest: Reading | None = None
    """The last reading while it is doubted: what the first one of the next boot is compared to."""
    base: Reading | None = None
    """What others of its boot are compared to; None if that is the believed one itself."""
    doubted_base: Reading | None = None
    """The first reading in the latest one's boot; None if that is the doubted one itself."""

    @property
    def until(self) -> datetime | None:
        """Return when the clock is believed if it stays as it is; None when it is believed."""
        return None if self.doubted is None else self.doubted.at + DOUBTED_FOR


def judged(before: ClockTrust | None, now: Reading) -> ClockTrust:
    """Return what is thought of the clock after one more reading."""
    if before is None:
        return ClockTrust(believed=now)
    base = before.base or before.believed
    if not _far_ahead(now, base, before.believed):
        return ClockTrust(believed=now, base=_base(now, base))
    doubted = before.doubted
    if doubted is None or now.at < doubted.at:
        return replace(before, doubted=now, latest=now, doubted_base=None)
    base = before.doubted_base or doubted
    if _far_ahead(now, base, before.latest or doubted):
        return replace(before, doubted=now, latest=now, doubted_base=None)
    if now.at - doubted.at >= DOUBTED_FOR:
        return ClockTrust(believed=now)
    if now.boot_id != base.boot_id:
        return replace(before, latest=now, doubted_base=now)
    return replace(before, latest=now)


def ahead(trust: ClockTrust) -> timedelta:
    """Return by how much a doubted clock had jumped, as far as that is known."""
    doubted, base = trust.doubted or trust.believed, trust.base or trust.believed
    if doubted.boot_id != base.boot_id:
        return doubted.at - trust.believed.at
    return _gained(doubted, base)


def _base(now: Reading, base: Reading) -> Reading | None:
    """Return what the next readings of this boot are compared to; None if that is this one."""
    if now.boot_id != base.boot_id or _passed(now, base) >= BASE_FOR:
        return None
    return None if _gained(now, base) < timedelta() else base


def _far_ahead(now: Reading, base: Reading, last: Reading) -> bool:
    """Compare with the base within its boot, with the last reading of it across boots."""
    if now.boot_id != base.boot_id:
        return now.at - last.at > FAR_ACROSS_BOOTS
    return _gained(now, base) > FAR


def _gained(now: Reading, since: Reading) -> timedelta:
    return now.at - since.at - _passed(now, since)


def _passed(now: Reading, since: Reading) -> timedelta:
    return timedelta(seconds=now.boot_seconds - since.boot_seconds)
