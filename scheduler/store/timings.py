"""How long transactions took and how long they waited to begin, kept by the store itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from scheduler.durations import Durations

LASTED = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0)
WAITED = (0.0005, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)


class Kind(StrEnum):
    """By which way in a transaction came."""

    READ = "read"
    WRITE = "write"
    """Units that waited together and were committed together."""
    INTERACTIVE = "interactive"


@dataclass(slots=True)
class Span:
    """When one was asked for, begun and ended, by the monotonic clock."""

    asked_at: float
    begun_at: float = 0.0
    ended_at: float | None = None


def _by_kind(bounds: tuple[float, ...]) -> Mapping[Kind, Durations]:
    return {kind: Durations(bounds) for kind in Kind}


@dataclass(frozen=True, slots=True)
class Timings:
    """What transactions took since the store was opened; the event loop's thread adds.

    One that failed counts like any other; one that its caller left does not. What a write waited is
    counted for each unit, how long it took once for all that were committed together.
    """

    lasted: Mapping[Kind, Durations] = field(default_factory=lambda: _by_kind(LASTED))
    waited: Mapping[Kind, Durations] = field(default_factory=lambda: _by_kind(WAITED))

    def add(self, kind: Kind, span: Span) -> None:
        """Count a transaction, unless it has not ended."""
        if span.ended_at is not None:
            self.waited[kind].add(span.begun_at - span.asked_at)
            self.lasted[kind].add(span.ended_at - span.begun_at)
