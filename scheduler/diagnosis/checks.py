"""The answer to one question about a host or the control node, with the command that mends it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

CONTROL_NODE = "control node"


class Verdict(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    """It works, and not as it should."""
    FAILED = "failed"
    UNKNOWN = "unknown"
    """Nobody can tell now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question, answered."""

    subject: str
    """A host's name, or the control node."""
    name: str
    verdict: Verdict
    message: str
    remedy: str | None = None
    """A command for a shell on the control node; None where nothing needs mending."""


def healthy(checks: Iterable[Check]) -> bool:
    """Return whether nothing failed; warnings and what is not known do not count."""
    return all(check.verdict is not Verdict.FAILED for check in checks)


def share_verdict(share: float, *, warn_below: float, fail_below: float) -> Verdict:
    """Return what is to be thought of so much being left of something."""
    if share < fail_below:
        return Verdict.FAILED
    return Verdict.WARNING if share < warn_below else Verdict.OK
