"""What a guest printed on its serial console while it booted: the latest boot of each sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleGap:
    """Where listening began late, or went on after a pause: what was printed meanwhile is lost."""

    offset: int
    """How many bytes were heard before, counted from the first."""
    at: datetime
    """When listening went on."""
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """The end of what was heard of one boot, and how it was heard; times are null until known."""

    sandbox_id: str
    boot_at: datetime
    """When the boot was asked for: which boot it is."""
    begun_at: datetime | None = None
    """When the console was first open."""
    ended_at: datetime | None = None
    """When the guest was ready, or its boot was over otherwise: nothing is added after it."""
    printed: bytes = b""
    """The end of what was heard, as the guest printed it."""
    dropped_bytes: int = 0
    """What was heard before that and is not kept."""
    gaps: tuple[ConsoleGap, ...] = ()
    reason: str | None = None
    """Why nobody listens, or nobody ever did."""
    updated_at: datetime
