"""Events: every state change with its reason, actor and evidence, in commit order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

SYSTEM = "system"
"""The actor of everything no caller asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One fact of the journal; `seq` is 0 until the store has numbered it."""

    seq: int = 0
    at: datetime
    kind: str
    """Dotted, noun first: `sandbox.state`, `host.health`, `drain.finished`, `clock.stepped`."""
    actor: str = SYSTEM
    sandbox_id: str | None = None
    host_id: str | None = None
    reason_code: str | None = None
    message: str = ""
    evidence: Mapping[str, object] = field(default_factory=dict)
