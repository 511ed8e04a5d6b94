"""A host's health from its polls, with hysteresis: one miss is a suspicion, three are a verdict.

Coming back takes two good polls, so that a flapping host does not take new sandboxes in between;
only a host never polled before is trusted at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from scheduler.model import HostHealth, HostResources

MISSES_UNTIL_DOWN = 3
SECONDS_UNTIL_DOWN = 30.0
GOOD_POLLS_UNTIL_UP = 2
STALE_AFTER_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Streak:
    """The polls in a row that ended alike; lost at a restart, which only delays a verdict."""

    good: int = 0
    missed: int = 0
    missed_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A host's health after a poll, and since when it is so."""

    health: HostHealth
    reason: str | None
    since: datetime
    streak: Streak
    changed: bool


def after_poll(
    host: HostResources, *, ok: bool, reason: str | None, now: datetime, streak: Streak
) -> Verdict:
    """Return what one more poll makes of the host; `reason` says why a poll failed."""
    streak = _longer(streak, ok=ok, now=now)
    health = _after_good(host.health, streak) if ok else _after_miss(host.health, streak, now)
    changed = health is not host.health
    return Verdict(
        health=health,
        reason=None if health is HostHealth.UP else reason or host.health_reason,
        since=now if changed or host.health_since is None else host.health_since,
        streak=streak,
        changed=changed,
    )


def stale(
    observed_at: datetime | None, now: datetime, stale_after_seconds: float = STALE_AFTER_SECONDS
) -> bool:
    """Return whether facts are too old to place on; facts from the future are as useless."""
    if observed_at is None:
        return True
    return abs(now - observed_at) > timedelta(seconds=stale_after_seconds)


def _longer(streak: Streak, *, ok: bool, now: datetime) -> Streak:
    if ok:
        return Streak(good=streak.good + 1)
    return replace(
        streak, good=0, missed=streak.missed + 1, missed_since=streak.missed_since or now
    )


def _after_good(health: HostHealth, streak: Streak) -> HostHealth:
    trusted = health in (HostHealth.UP, HostHealth.UNKNOWN)
    return HostHealth.UP if trusted or streak.good >= GOOD_POLLS_UNTIL_UP else health


def _after_miss(health: HostHealth, streak: Streak, now: datetime) -> HostHealth:
    silent = now - (streak.missed_since or now)
    gone = streak.missed >= MISSES_UNTIL_DOWN or silent >= timedelta(seconds=SECONDS_UNTIL_DOWN)
    return HostHealth.DOWN if gone or health is HostHealth.DOWN else HostHealth.SUSPECT
