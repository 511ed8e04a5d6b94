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
    """The last reading while it is doubted: what a jump is that makes the doubt begin anew."""

    @property
    def until(self) -> datetime | None:
        """Return when the clock is believed if it stays as it is; None when it is believed."""
        return None if self.doubted is None else self.doubted.at + DOUBTED_FOR


def judged(before: ClockTrust | None, now: Reading) -> ClockTrust:
    """Return what is thought of the clock after one more reading."""
    if before is None or not _far_ahead(now, before.believed):
        return ClockTrust(believed=now)
    doubted = before.doubted
    if doubted is None or now.at < doubted.at or _far_ahead(now, before.latest or doubted):
        return ClockTrust(believed=before.believed, doubted=now, latest=now)
    if now.at - doubted.at >= DOUBTED_FOR:
        return ClockTrust(believed=now)
    return replace(before, latest=now)


def ahead(trust: ClockTrust) -> timedelta:
    """Return by how much a doubted clock had jumped, as far as that is known."""
    doubted = trust.doubted or trust.believed
    return doubted.at - trust.believed.at - _passed(doubted, trust.believed)


def _far_ahead(now: Reading, since: Reading) -> bool:
    jumped = now.at - since.at - _passed(now, since)
    return jumped > (FAR if now.boot_id == since.boot_id else FAR_ACROSS_BOOTS)


def _passed(now: Reading, since: Reading) -> timedelta:
    if now.boot_id != since.boot_id:
        return timedelta()
    return timedelta(seconds=now.boot_seconds - since.boot_seconds)
