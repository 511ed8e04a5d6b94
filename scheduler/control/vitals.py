"""Which parts of the daemon hang: the rule by which it lets itself be ended and started anew.

Only what a restart can mend counts. One item that hangs hangs alone, so a part that works on many
is stuck only when all of them are; a database that refuses ends a turn like one that obeys.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

LAG_SECONDS = 5.0
"""An event loop that wakes so late serves nobody; two hundred times what is normal under load."""

NEVER = inf
"""When a loop that does not run, or no longer, is due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Where a loop is: at work since, or waiting until it is due; monotonic seconds."""

    name: str
    working_since: float | None
    """When its work began, or showed its last sign of life."""
    longest_seconds: float
    """How long its work may take from then on."""
    due_at: float

    def overdue_seconds(self, now: float) -> float:
        """Return for how long its work, or its beginning, has been overdue; negative in time."""
        if self.working_since is not None:
            return now - self.working_since - self.longest_seconds
        return now - self.due_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """A part of the daemon that does not go on."""

    name: str
    message: str


def find_stuck(
    turns: Iterable[Turn], *, lag_seconds: float, now: float, patience_seconds: float
) -> tuple[Stuck, ...]:
    """Return what is overdue by more than `patience_seconds`, and the event loop when it lags."""
    parts: defaultdict[str, list[Turn]] = defaultdict(list)
    for turn in turns:
        parts[turn.name].append(turn)
    stuck = [
        Stuck(name=name, message=_message(one, now))
        for name, members in parts.items()
        for one in (min(members, key=lambda turn: turn.overdue_seconds(now)),)
        if one.overdue_seconds(now) > patience_seconds
    ]
    if lag_seconds >= LAG_SECONDS:
        message = f"the event loop wakes {lag_seconds:.0f} s late"
        stuck.append(Stuck(name="event loop", message=message))
    return tuple(stuck)


def _message(turn: Turn, now: float) -> str:
    if turn.working_since is not None:
        return f"{turn.name} has been at one turn for {now - turn.working_since:.0f} s"
    return f"{turn.name} has been due for {now - turn.due_at:.0f} s and does not begin"
