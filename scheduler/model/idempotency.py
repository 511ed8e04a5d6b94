"""What was answered to a request that carried an idempotency key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyRecord:
    """One kept answer; the same key with another body is a conflict. Kept for 24 hours."""

    actor: str
    route: str
    key: str
    body_hash: str
    status: int
    answer: str
    """The JSON text that was answered."""
    created_at: datetime
