"""A sandbox's lease: when it begins, when it ends, and what its end does.

The end is an instant, not a duration: extending it and reaping it are writes of the same record,
so one of the two wins and the other one is told. Nothing but its owner ever moves it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from scheduler.errors import Conflict, Invalid
from scheduler.lifecycle.moving import unwished
from scheduler.lifecycle.steps import ConditionKind
from scheduler.model import Condition, DesiredState, OnExpire, Sandbox, SandboxState

_LEASED = frozenset({SandboxState.RUNNING, SandboxState.STOPPED, SandboxState.ERROR})
LONGEST_TTL_SECONDS = 100 * 366 * 24 * 3600
"""A century: what lies beyond is a mistake, and the calendar ends."""
_APART = timedelta(seconds=1)
"""Names are made of the second in which a lease ended."""


def lease(sandbox: Sandbox, now: datetime) -> datetime | None:
    """Return when the sandbox expires: a time to live after the first state it can be used in.

    STOPPED counts too, else a sandbox that was stopped before it ever ran would stay for good.
    None when the lease has not begun, or has no end.
    """
    if sandbox.expires_at is not None:
        return sandbox.expires_at
    if sandbox.ttl_seconds is None or sandbox.state not in _LEASED:
        return None
    return now + timedelta(seconds=sandbox.ttl_seconds)


def due(sandbox: Sandbox, now: datetime) -> bool:
    """Return whether the lease is over and its end has not been acted on."""
    return (
        sandbox.live
        and sandbox.desired_state is not DesiredState.DESTROYED
        and sandbox.expires_at is not None
        and sandbox.expires_at <= now
    )


def expire(sandbox: Sandbox, now: datetime, stopped_retention_seconds: int) -> Sandbox:
    """Return the record whose lease has ended: destroyed, or stopped first and then destroyed.

    One that is to become an image is not destroyed by the time that passes; one that never ran
    has nothing to keep. Whatever ends it ends the wish to move it; one that is only stopped moves
    on.
    """
    later = now + timedelta(seconds=stopped_retention_seconds)
    if sandbox.on_expire is OnExpire.STOP and not endings(sandbox):
        return _stopped(sandbox, "extend it to keep it", now, later)
    if sandbox.on_expire is OnExpire.IMAGE and _has_run(sandbox):
        if endings(sandbox) and sandbox.desired_state is DesiredState.STOPPED:
            return replace(sandbox, expires_at=later, updated_at=now)
        what_next = "it is destroyed once its disk is kept as an image"
        return _stopped(unwished(sandbox), what_next, now, later)
    return replace(unwished(sandbox), desired_state=DesiredState.DESTROYED, updated_at=now)


def _has_run(sandbox: Sandbox) -> bool:
    """Return whether a guest may have written to its disk, here or before it was moved here."""
    return sandbox.running_at is not None or sandbox.moved_at is not None


def _stopped(sandbox: Sandbox, what_next: str, now: datetime, later: datetime) -> Sandbox:
    ended = Condition(
        kind=ConditionKind.EXPIRED,
        message=f"the lease ended and stopped the sandbox; {what_next}",
        since=max((_after(ending, now) for ending in endings(sandbox)), default=now),
    )
    others = tuple(c for c in sandbox.conditions if c.kind != ConditionKind.EXPIRED)
    return replace(
        sandbox,
        desired_state=DesiredState.STOPPED,
        expires_at=later,
        conditions=(*others, ended),
        updated_at=now,
    )


def extend(
    sandbox: Sandbox, ttl_seconds: int, now: datetime, max_ttl_seconds: int | None
) -> Sandbox:
    """Return the record with its end `ttl_seconds` from now, never earlier than it was.

    Before the lease begins the time to live itself grows. Raises `Invalid` for a time that is
    not positive or beyond the maximum, `Conflict` when the sandbox is being destroyed already.
    """
    _check_ttl(ttl_seconds, max_ttl_seconds)
    if not sandbox.live or sandbox.desired_state is DesiredState.DESTROYED:
        raise Conflict(
            f"sandbox {sandbox.id} is being destroyed or gone: it can no longer be extended",
            remedy="Create a new sandbox, with a longer ttl_seconds.",
            details={"state": str(sandbox.state), "desired_state": str(sandbox.desired_state)},
        )
    if sandbox.ttl_seconds is None and sandbox.expires_at is None:
        return sandbox
    if sandbox.expires_at is None:
        longer = max(ttl_seconds, sandbox.ttl_seconds or 0)
        return replace(sandbox, ttl_seconds=longer, updated_at=now)
    kept = tuple(c for c in sandbox.conditions if c.kind != ConditionKind.EXPIRED)
    end = max(sandbox.expires_at, now + timedelta(seconds=ttl_seconds))
    return replace(sandbox, expires_at=end, conditions=kept, updated_at=now)


def _check_ttl(ttl_seconds: int, max_ttl_seconds: int | None) -> None:
    longest = LONGEST_TTL_SECONDS if max_ttl_seconds is None else max_ttl_seconds
    if 0 < ttl_seconds <= longest:
        return
    raise Invalid(
        f"ttl_seconds is {ttl_seconds}; it must be from 1 to {longest}",
        remedy=f"Ask for at most {longest} seconds, and extend again before they are over.",
        details={"ttl_seconds": f"must be from 1 to {longest}"},
    )


def endings(sandbox: Sandbox) -> tuple[Condition, ...]:
    """Return what tells that the lease has ended, empty otherwise; only an extension takes it back.

    Whoever drops the other conditions with a change of state keeps these.
    """
    return tuple(c for c in sandbox.conditions if c.kind == ConditionKind.EXPIRED)


def run_anew(sandbox: Sandbox, now: datetime) -> tuple[Condition, ...]:
    """Return its conditions once it is to run, or is brought back: an end is dated anew.

    Its disk is another one from now on. The date tells the disk of one end from that of another:
    nothing else moves it, and a clock that was set back gives no date twice.
    """
    return tuple(
        replace(c, since=_after(c, now)) if c.kind == ConditionKind.EXPIRED else c
        for c in sandbox.conditions
    )


def _after(ending: Condition, now: datetime) -> datetime:
    return max(now, ending.since + _APART)
