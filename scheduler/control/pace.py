"""How often the loops look and how long they try: the configuration, as they use it."""

from __future__ import annotations

from dataclasses import dataclass, field

from scheduler.config import Settings
from scheduler.lifecycle.breaker import BreakerRules
from scheduler.lifecycle.steps import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often and how long; seconds."""

    poll_seconds: float = 10.0
    stopped_retention_seconds: int = 86400
    limits: Limits = field(default_factory=Limits)
    breakers: BreakerRules = field(default_factory=BreakerRules)


def pace_of(settings: Settings) -> Pace:
    """Return the pace that a configuration asks for."""
    lifecycle, placement = settings.lifecycle, settings.placement
    return Pace(
        poll_seconds=lifecycle.poll_seconds,
        stopped_retention_seconds=lifecycle.stopped_retention_seconds,
        limits=Limits(
            build_attempts=lifecycle.build_attempts,
            build_hosts=placement.build_hosts,
            start_attempts=lifecycle.start_attempts,
            shutdown_seconds=lifecycle.shutdown_seconds,
        ),
        breakers=BreakerRules(
            failures=placement.breaker_failures,
            window_seconds=placement.breaker_window_seconds,
            first_pause_seconds=placement.breaker_first_pause_seconds,
            longest_pause_seconds=placement.breaker_longest_pause_seconds,
        ),
    )
