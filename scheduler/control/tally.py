"""Who the loops tell what they have done, so that it can be counted; the daemon says who it is."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from scheduler.model import Sandbox


class Tally(Protocol):
    """Told what the loops do, for counters; what is told must never fail."""

    def passed(self, loop: str, seconds: float, /) -> None:
        """Take note of a finished pass of a loop."""
        ...

    def rested(self, loop: str, /) -> None:
        """Take note that a loop has nothing to do any more, until its next pass."""
        ...

    def became(self, before: Sandbox, after: Sandbox, /) -> None:
        """Take note of a sandbox's change of state."""
        ...

    def expired(self, action: str, /) -> None:
        """Take note of a lease that ended: `destroy` or `stop`."""
        ...

    def moved(self, failure: str, /) -> None:
        """Take note of a sandbox that left a host which failed it, by the code of the failure."""
        ...

    def snapped(self, operation: str, result: str, /) -> None:
        """Take note of how the making, reverting or deleting of a snapshot ended."""
        ...

    def published(self, forge: str, status: str, /) -> None:
        """Take note of a publication's new status, and the kind of its forge."""
        ...

    def commanded(self) -> None:
        """Take note of a command that was sent to a guest."""
        ...

    def command_ended(self, status: str, seconds: float, /) -> None:
        """Take note of a command's end, by its status, and of how long it took."""
        ...

    def drained(self, status: str, /) -> None:
        """Take note of the end of a drain, by its status."""
        ...

    def playing(self, plays: int, /) -> None:
        """Take note of how many plays of stored playbooks are in progress."""
        ...

    def played(self, status: str, /) -> None:
        """Take note of the end of a play on one sandbox, by its status."""
        ...

    def collected(self, kind: str, files: int, left_bytes: int, /) -> None:
        """Take note of kept files that were removed, and of the bytes that are left."""
        ...

    def backed_up(self, newest_at: datetime | None, /) -> None:
        """Take note of when the newest backup there is was made, None while there is none."""
        ...

    def backup_ended(self, result: str, /) -> None:
        """Take note of how the making of a backup ended: `done` or `failed`."""
        ...

    def parked(self) -> None:
        """Take note of a bug that parked a sandbox."""
        ...


class Untold:
    """Takes note of nothing."""

    def passed(self, loop: str, seconds: float, /) -> None:
        """Take no note."""

    def rested(self, loop: str, /) -> None:
        """Take no note."""

    def became(self, before: Sandbox, after: Sandbox, /) -> None:
        """Take no note."""

    def expired(self, action: str, /) -> None:
        """Take no note."""

    def moved(self, failure: str, /) -> None:
        """Take no note."""

    def snapped(self, operation: str, result: str, /) -> None:
        """Take no note."""

    def published(self, forge: str, status: str, /) -> None:
        """Take no note."""

    def commanded(self) -> None:
        """Take no note."""

    def command_ended(self, status: str, seconds: float, /) -> None:
        """Take no note."""

    def drained(self, status: str, /) -> None:
        """Take no note."""

    def playing(self, plays: int, /) -> None:
        """Take no note."""

    def played(self, status: str, /) -> None:
        """Take no note."""

    def collected(self, kind: str, files: int, left_bytes: int, /) -> None:
        """Take no note."""

    def backed_up(self, newest_at: datetime | None, /) -> None:
        """Take no note."""

    def backup_ended(self, result: str, /) -> None:
        """Take no note."""

    def parked(self) -> None:
        """Take no note."""
