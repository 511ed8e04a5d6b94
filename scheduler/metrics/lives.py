"""Sandboxes that come up, live and end, and what is kept of them in between."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Histogram

from scheduler.model import Ending, OnExpire, Phase, Sandbox, SandboxState

ENDINGS: Mapping[Ending, str] = {
    Ending.DELETED: "user",
    Ending.REAPED: "user",
    Ending.LEASE_EXPIRED: "ttl",
    Ending.IMAGED: "ttl",
    Ending.DRAINED: "drain",
    Ending.FORGOTTEN: "forgotten",
    Ending.FORGOTTEN_ON_HOST: "forgotten",
}
"""What ended a sandbox, by its last reason."""
OTHERWISE = "other"
"""What ended one whose last reason is about something else."""
PHASES = ("build", "boot", "total")
FAILURES = ("build_failed", "start_failed", "host_unreachable", "breaker_open")
"""Why a sandbox leaves a host that was to bring it up."""

_ENDING_CODES = frozenset(Ending)
_CREATIONS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_LIVES = (60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 12 * 3600.0, 86400.0, 7 * 86400.0)
_COMING_UP = frozenset({SandboxState.CREATED, SandboxState.STARTING})


class Lives:
    """The counters and histograms of sandboxes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._created = Counter(
            "sandboxd_sandboxes_created",
            "Sandboxes that came up for the first time, or failed to.",
            ["result"],
            registry=registry,
        )
        self._create_seconds = Histogram(
            "sandboxd_sandbox_create_duration_seconds",
            "How long a sandbox took to come up for the first time, by phase.",
            ["phase"],
            buckets=_CREATIONS,
            registry=registry,
        )
        self._destroyed = Counter(
            "sandboxd_sandboxes_destroyed",
            "Sandboxes that are no more, by what ended them.",
            ["reason"],
            registry=registry,
        )
        self._lifetimes = Histogram(
            "sandboxd_sandbox_lifetime_seconds",
            "How long sandboxes existed, by what ended them.",
            ["reason"],
            buckets=_LIVES,
            registry=registry,
        )
        self._expired = Counter(
            "sandboxd_sandboxes_expired",
            "Leases that ended, by what their end does.",
            ["action"],
            registry=registry,
        )
        self._moved = Counter(
            "sandboxd_sandboxes_moved",
            "Sandboxes that left a host which could not bring them up, by what failed there.",
            ["failure"],
            registry=registry,
        )
        self._snapped = Counter(
            "sandboxd_snapshots",
            "Snapshots made, gone back to and deleted, and how that ended.",
            ["operation", "result"],
            registry=registry,
        )
        self._begin()

    def became(self, before: Sandbox, after: Sandbox) -> None:
        """Count what a change of state says of a first start, or of an end."""
        if after.state is SandboxState.DESTROYED:
            self.ended(after)
        elif (before.running_at, before.moved_at) == (None, None) and before.state in _COMING_UP:
            self._came_up(before, after)

    def ended(self, sandbox: Sandbox) -> None:
        """Count an end, by what it was of, and how long the sandbox existed."""
        code = sandbox.reason_code
        reason = ENDINGS[Ending(code)] if code in _ENDING_CODES else OTHERWISE
        lived = (sandbox.updated_at - sandbox.created_at).total_seconds()
        self._destroyed.labels(reason).inc()
        self._lifetimes.labels(reason).observe(max(0.0, lived))

    def expired(self, action: str) -> None:
        """Count a lease that ended."""
        self._expired.labels(action).inc()

    def moved(self, failure: str) -> None:
        """Count a sandbox that left a host which failed it."""
        self._moved.labels(failure).inc()

    def snapped(self, operation: str, result: str) -> None:
        """Count what was done about a snapshot, and how that ended."""
        self._snapped.labels(operation, result).inc()

    def _came_up(self, before: Sandbox, after: Sandbox) -> None:
        at = after.updated_at
        if before.state is SandboxState.CREATED and after.state is SandboxState.STARTING:
            self._timed("build", before.created_at, at)
        elif after.state is SandboxState.RUNNING:
            self._created.labels("running").inc()
            self._timed("total", before.created_at, at)
            if before.phase is Phase.START and before.phase_at is not None:
                self._timed("boot", before.phase_at, at)
        elif after.state is SandboxState.ERROR:
            self._created.labels("failed").inc()

    def _timed(self, phase: str, since: datetime, until: datetime) -> None:
        self._create_seconds.labels(phase).observe(max(0.0, (until - since).total_seconds()))

    def _begin(self) -> None:
        """Make the series whose labels are known, so that they start at zero."""
        for result in ("running", "failed"):
            self._created.labels(result)
        for phase in PHASES:
            self._create_seconds.labels(phase)
        for reason in {*ENDINGS.values(), OTHERWISE}:
            self._destroyed.labels(reason)
            self._lifetimes.labels(reason)
        for operation, result in product(("create", "revert", "delete"), ("done", "failed")):
            self._snapped.labels(operation, result)
        for failure in FAILURES:
            self._moved.labels(failure)
        for action in OnExpire:
            self._expired.labels(action.value)
