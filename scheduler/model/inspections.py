"""A look at a source VM: a command from the closed grammar, and what it said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class InspectionStatus(StrEnum):
    """WAITING is recorded before anything is run; the others are final."""

    WAITING = "WAITING"
    DONE = "DONE"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """One look; since it changes nothing, one that a death cut short is simply taken again."""

    id: str
    source_id: str
    host_name: str
    name: str
    """The machine's name on its host."""
    argv: tuple[str, ...]
    timeout_seconds: int
    actor: str
    status: InspectionStatus = InspectionStatus.WAITING
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    """What it wrote; what is kept of it may be less, and without its secrets."""
    truncated: bool = False
    redacted: Mapping[str, str] = field(default_factory=dict)
    """How many secrets of each kind were taken out of each stream."""
    reason: str | None = None
    """Why it failed, in words."""
    asked_at: datetime
    ended_at: datetime | None = None

    @property
    def waiting(self) -> bool:
        """Return whether it has not ended."""
        return self.status is InspectionStatus.WAITING
