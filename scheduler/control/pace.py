"""How often the loops look and how long they try: the configuration, as they use it."""

from __future__ import annotations

from dataclasses import dataclass, field

from scheduler.config import Settings
from scheduler.control.image_keeper import ImagePace
from scheduler.control.publication_loops import PublishingPace, publishing_pace
from scheduler.lifecycle.breaker import BreakerRules
from scheduler.lifecycle.steps import Limits
from scheduler.model.images import MIB
from scheduler.service.idempotency import KEPT_FOR

_MINUTE_SECONDS, _HOUR_SECONDS = 60.0, 3600.0
_MONTH_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How long what is over is kept; seconds, and rows for events."""

    answers_seconds: float = KEPT_FOR.total_seconds()
    events_seconds: float = _MONTH_SECONDS
    events_rows: int = 1_000_000
    decisions_seconds: float = _MONTH_SECONDS
    commands_seconds: float = _MONTH_SECONDS
    ssh_seconds: float = _MONTH_SECONDS
    tombstones_seconds: float = _MONTH_SECONDS

    @property
    def sweep_seconds(self) -> float:
        """How often what is outdated is looked for: as often as the shortest of these ends.

        Once an hour at the least, as what is no longer wanted should not stay for a day, and once a
        minute at the most.
        """
        shortest = min(
            self.answers_seconds,
            self.events_seconds,
            self.decisions_seconds,
            self.commands_seconds,
            self.ssh_seconds,
            self.tombstones_seconds,
        )
        return max(_MINUTE_SECONDS, min(shortest, _HOUR_SECONDS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often and how long; seconds."""

    poll_seconds: float = 10.0
    stopped_retention_seconds: int = 86400
    limits: Limits = field(default_factory=Limits)
    breakers: BreakerRules = field(default_factory=BreakerRules)
    keep: Keep = field(default_factory=Keep)
    images: ImagePace = field(default_factory=ImagePace)
    publishing: PublishingPace = field(default_factory=PublishingPace)
    consoles: bool = True
    """Whether what guests print while they boot is kept."""


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
        keep=Keep(
            events_seconds=settings.retention.events_seconds,
            events_rows=settings.retention.events_rows,
            decisions_seconds=settings.retention.decisions_seconds,
            commands_seconds=settings.retention.commands_seconds,
            ssh_seconds=settings.retention.ssh_seconds,
            tombstones_seconds=settings.retention.tombstones_seconds,
        ),
        images=ImagePace(
            replicas_limit_mb=settings.images.replicas_limit_mb,
            abandoned_seconds=settings.images.abandoned_seconds,
            most_bytes=settings.images.max_size_mb * MIB,
            most_virtual_bytes=settings.images.max_virtual_mb * MIB,
        ),
        publishing=publishing_pace(settings),
        consoles=settings.guests.console,
    )
