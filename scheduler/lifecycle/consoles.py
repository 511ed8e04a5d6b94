"""What is kept of a guest's console: a bounded end, and where something is missing in it.

A boot is known by when it was asked for, so that what was kept of an earlier one is never taken for
a part of it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from scheduler.model import Console, ConsoleGap, DesiredState, Sandbox, SandboxState

KEPT_BYTES = 64 * 1024
"""Of each boot; a kernel with all its messages and a first boot's cloud-init print less."""
MOST_GAPS = 16
"""The latest are kept."""
MOST_REASON = 300
"""Characters of what a host said."""

RAN_ALREADY = "the guest ran already when listening began"
STARTED_AGAIN = "the guest was started again"
CONNECTION_BROKE = "the connection to its host broke"
DAEMON_RESTARTED = "the daemon was restarted"
BEGUN_ANEW = "it was begun anew, or on another host"


def booting(sandbox: Sandbox) -> bool:
    """Return whether its guest is being started and not ready yet, as far as is recorded."""
    starting = sandbox.state is SandboxState.STARTING
    return starting and sandbox.desired_state is DesiredState.RUNNING


def boot_of(sandbox: Sandbox) -> datetime:
    """Return when its present boot, or the latest one, was asked for."""
    return sandbox.queued_at or sandbox.created_at


def of_boot(kept: Console | None, sandbox_id: str, boot_at: datetime, *, now: datetime) -> Console:
    """Return what was kept of a boot so far, an empty console when it is another one's."""
    if kept is not None and kept.boot_at == boot_at:
        return replace(kept, ended_at=None)
    return Console(sandbox_id=sandbox_id, boot_at=boot_at, updated_at=now)


def resumed(kept: Console | None, console: Console) -> str | None:
    """Return why nobody listened since `kept`, if `console` goes on from it."""
    if kept is None or console.begun_at is None:
        return None
    return BEGUN_ANEW if kept.ended_at is not None else DAEMON_RESTARTED


def missed(console: Console, *, lapse: str | None, seen_off: bool) -> str | None:
    """Return why something was missed before a console is open now; None when nothing was.

    `lapse` is why nobody listened since somebody last did; `seen_off` tells that the domain was
    seen to be off since.
    """
    if lapse is not None:
        return lapse
    if console.begun_at is None:
        return None if seen_off else RAN_ALREADY
    return STARTED_AGAIN if seen_off else CONNECTION_BROKE


def opened(console: Console, *, missed: str | None, now: datetime) -> Console:
    """Return it listened to from now on; `missed` says why what was printed before is lost."""
    begun_at = console.begun_at or now
    heard = console.dropped_bytes + len(console.printed)
    gap = () if missed is None else (ConsoleGap(offset=heard, at=now, why=missed[:MOST_REASON]),)
    gaps = (*console.gaps, *gap)[-MOST_GAPS:]
    return replace(console, begun_at=begun_at, gaps=gaps, reason=None, updated_at=now)


def heard(console: Console, data: bytes, *, now: datetime) -> Console:
    """Return it with what was printed since, cut to what is kept."""
    if not data:
        return console
    printed = console.printed + data
    dropped = max(0, len(printed) - KEPT_BYTES)
    return replace(
        console,
        printed=printed[dropped:],
        dropped_bytes=console.dropped_bytes + dropped,
        updated_at=now,
    )


def unheard(console: Console, reason: str, *, now: datetime) -> Console:
    """Return it while nobody listens, for this reason."""
    reason = reason[:MOST_REASON]
    if console.reason == reason:
        return console
    return replace(console, reason=reason, updated_at=now)


def ended(console: Console, *, now: datetime) -> Console:
    """Return it once the boot is over."""
    return replace(console, ended_at=now, updated_at=now)
