"""A verification: a change set applied to a fresh clone, which must then be what the sandbox was.

Each phase is recorded before it begins. The clone is a sandbox like any other, with a lease of its
own, so that it ends even if nobody comes back to the verification.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class VerificationPhase(StrEnum):
    """What is being done; every phase but DONE is gone on with after a restart."""

    CLONING = "CLONING"
    """A fresh clone is asked for and waited for."""
    PLAYING = "PLAYING"
    """The play was begun; one that a crash cut short is played on another clone."""
    COMPARING = "COMPARING"
    """The play has ended well; the clone is looked at."""
    CLEARING = "CLEARING"
    """The result is known; the clone goes."""
    DONE = "DONE"


class VerificationResult(StrEnum):
    """What came out."""

    PASSED = "PASSED"
    """The clone became what the sandbox was, but for noise and what was left for review."""
    FAILED = "FAILED"
    """The play failed, or something is missing that the code should have brought about."""
    ERROR = "ERROR"
    """No answer: there was no clone, or it could not be reached or looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remainder:
    """One thing in which the clone differs from the sandbox after the play."""

    kind: str
    """`path`, `attributes` (of a path), `package` or `service`."""
    name: str
    difference: str
    """`missing`, `surplus`, `different`, or `not seen` on the clone."""
    reviewed: bool = False
    """REVIEW.md says that the code does not bring this about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The latest verification of a change set; there is one at a time."""

    change_set_id: str
    phase: VerificationPhase = VerificationPhase.CLONING
    result: VerificationResult | None = None
    reason: str | None = None
    """Why it failed, in words."""
    clone_id: str | None = None
    """The sandbox it is tried on."""
    attempts: int = 1
    """How many clones this change set was ever tried on."""
    restarts: int = 0
    """How many clones of this run were given up because the daemon ended meanwhile."""
    log: str = ""
    """The end of what the play said, escaped."""
    remaining: tuple[Remainder, ...] = ()
    actor: str
    generation: int = 1
    started_at: datetime
    updated_at: datetime
    ended_at: datetime | None = None

    @property
    def over(self) -> bool:
        """Return whether nothing more happens by itself."""
        return self.phase is VerificationPhase.DONE
