"""A run of a playbook: its text as it was when it was asked for, and a play for each sandbox.

A play is PLAYING, durably, before anything of it is begun, so that it is never played twice; one
that a daemon's death cut short is told as INTERRUPTED.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class PlayStatus(StrEnum):
    """Where a play on one sandbox is; all but the first two are final."""

    WAITING = "WAITING"
    PLAYING = "PLAYING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    UNREACHABLE = "UNREACHABLE"
    TIMED_OUT = "TIMED_OUT"
    CANCELLED = "CANCELLED"
    INTERRUPTED = "INTERRUPTED"
    """The daemon ended meanwhile; nobody knows how far it came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recap:
    """How many tasks ended how, as Ansible counts them."""

    ok: int = 0
    changed: int = 0
    unreachable: int = 0
    failed: int = 0
    skipped: int = 0
    rescued: int = 0
    ignored: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxPlay:
    """The play on one sandbox."""

    sandbox_id: str
    sandbox_name: str
    status: PlayStatus = PlayStatus.WAITING
    recap: Recap | None = None
    """None while nothing is known of it."""
    reason: str | None = None
    """Why it did not succeed, in words."""
    log: str = ""
    """The end of what it said, redacted and escaped."""
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def over(self) -> bool:
        """Return whether nothing more happens to it."""
        return self.status not in (PlayStatus.WAITING, PlayStatus.PLAYING)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybookRun:
    """One run; later edits of its playbook, or its end, do not concern it."""

    id: str
    playbook_id: str
    playbook_name: str
    revision: int
    yaml: str
    """What is played."""
    check: bool = False
    """Nothing is changed: Ansible's --check."""
    timeout_seconds: int
    """For each sandbox, from the beginning of its play."""
    plays: tuple[SandboxPlay, ...]
    actor: str
    generation: int = 1
    asked_at: datetime
    updated_at: datetime
    cancel_requested_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def over(self) -> bool:
        """Return whether every play is over."""
        return all(play.over for play in self.plays)

    def play_of(self, sandbox_id: str) -> SandboxPlay:
        """Return the play on a sandbox of this run."""
        return next(play for play in self.plays if play.sandbox_id == sandbox_id)
