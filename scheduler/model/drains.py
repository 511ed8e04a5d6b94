"""A drain: the durable wish to empty a host, carried out by a loop to its proven end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class DrainState(StrEnum):
    """ACTIVE until proven empty or called off."""

    ACTIVE = "ACTIVE"
    FINISHED = "FINISHED"
    ABORTED = "ABORTED"


class DrainPolicy(StrEnum):
    """What happens to each sandbox: `expire` waits for its lease, `destroy` ends it now.

    `move` takes it to another host with its disk.
    """

    EXPIRE = "expire"
    STOP = "stop"
    DESTROY = "destroy"
    MOVE = "move"


class OnDeadline(StrEnum):
    """What happens to those still there when the deadline passes."""

    STOP = "stop"
    DESTROY = "destroy"
    KEEP = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """One drain of one host; at most one is ACTIVE per host."""

    id: str
    host_id: str
    host_name: str
    state: DrainState = DrainState.ACTIVE
    policy: DrainPolicy = DrainPolicy.DESTROY
    on_deadline: OnDeadline = OnDeadline.DESTROY
    reason: str = ""
    actor: str
    deadline_at: datetime | None = None
    deadline_seconds: int | None = None
    """How far off the deadline was when it was last named: the same number is a wish repeated."""
    total: int = 0
    remaining: int = 0
    started_at: datetime
    ended_at: datetime | None = None
