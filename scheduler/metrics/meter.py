"""What happens, counted and timed as it happens.

Services and loops are handed these methods as plain callables and know nothing of Prometheus. Every
label value comes from a closed set; series of known values exist from the start, so that the first
event already shows as an increase.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from scheduler.clock import Clock
from scheduler.metrics.answers import Answers
from scheduler.metrics.audits import Audits
from scheduler.model import (
    CommandStatus,
    Ending,
    OnExpire,
    Phase,
    PlayStatus,
    PublicationStatus,
    Sandbox,
    SandboxState,
)
from scheduler.service.audits import AuditReport

DECISIONS = ("placed", "capacity_exhausted", "constraint_impossible")
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
KEPT_FILES = ("manifests", "contents")
FORGES = ("github", "gitlab", "gitea", "forgejo")

_ENDING_CODES = frozenset(Ending)
_FAST = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)
_PASSES = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)
_CREATIONS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_LIVES = (60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 12 * 3600.0, 86400.0, 7 * 86400.0)
_COMING_UP = frozenset({SandboxState.CREATED, SandboxState.STARTING})


class Meter:
    """Counters, histograms and gauges in a registry of their own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.registry = CollectorRegistry()
        self._measure_placement(self.registry)
        self._measure_lives(self.registry)
        self._measure_publications(self.registry)
        self._measure_loops(self.registry)
        self._measure_commands(self.registry)
        self._measure_plays(self.registry)
        self._measure_kept_files(self.registry)
        self._measure_logins(self.registry)
        self._answers = Answers(self.registry)
        self._audits = Audits(self.registry)
        self._begin()

    def _measure_placement(self, registry: CollectorRegistry) -> None:
        self._decisions = Counter(
            "sandboxd_scheduler_decisions",
            "Placement decisions, previews included.",
            ["result"],
            registry=registry,
        )
        self._rejections = Counter(
            "sandboxd_scheduler_rejections",
            "Hosts that a decision refused, by the first filter that did.",
            ["filter"],
            registry=registry,
        )
        self._decision_seconds = Histogram(
            "sandboxd_scheduler_decision_duration_seconds",
            "How long choosing a host took.",
            buckets=_FAST,
            registry=registry,
        )

    def _measure_lives(self, registry: CollectorRegistry) -> None:
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

    def _measure_publications(self, registry: CollectorRegistry) -> None:
        self._published = Counter(
            "sandboxd_publications",
            "Steps of change sets into repositories, by the kind of forge.",
            ["forge", "status"],
            registry=registry,
        )

    def _measure_loops(self, registry: CollectorRegistry) -> None:
        self._parked = Counter(
            "sandboxd_internal_errors",
            "Bugs met while working on one sandbox or one host, which then waits.",
            registry=registry,
        )
        self._passes = Counter(
            "sandboxd_reconcile_runs",
            "Finished passes of each loop; `poll` is one look at one host.",
            ["controller"],
            registry=registry,
        )
        self._pass_seconds = Histogram(
            "sandboxd_reconcile_duration_seconds",
            "How long a pass of each loop took.",
            ["controller"],
            buckets=_PASSES,
            registry=registry,
        )
        self._pass_at = Gauge(
            "sandboxd_reconcile_last_success_timestamp_seconds",
            "When each loop last finished a pass; `poll` has none while there are no hosts.",
            ["controller"],
            registry=registry,
        )
        self._lag = Gauge(
            "sandboxd_event_loop_lag_seconds",
            "How late the event loop woke from its last measured sleep.",
            registry=registry,
        )

        self._stuck = Gauge(
            "sandboxd_stuck_parts",
            "Parts of the daemon that do not turn as they should; the watchdog is not fed then.",
            registry=registry,
        )

    def _measure_commands(self, registry: CollectorRegistry) -> None:
        self._commands_started = Counter(
            "sandboxd_commands_started",
            "Commands that a guest was to be sent.",
            registry=registry,
        )
        self._commands_ended = Counter(
            "sandboxd_commands_ended",
            "Commands that have ended, by how.",
            ["status"],
            registry=registry,
        )
        self._commands_running = Gauge(
            "sandboxd_commands_running",
            "Commands that this daemon runs in guests now.",
            registry=registry,
        )

    def _measure_plays(self, registry: CollectorRegistry) -> None:
        self._plays_ended = Counter(
            "sandboxd_plays_ended",
            "Plays of stored playbooks on one sandbox that have ended, by how.",
            ["status"],
            registry=registry,
        )
        self._plays_running = Gauge(
            "sandboxd_plays_running",
            "Plays of stored playbooks that this daemon has in progress now.",
            registry=registry,
        )
        for over in set(PlayStatus) - {PlayStatus.WAITING, PlayStatus.PLAYING}:
            self._plays_ended.labels(over.value.lower())

    def _measure_kept_files(self, registry: CollectorRegistry) -> None:
        self._removed = Counter(
            "sandboxd_kept_files_removed",
            "Manifests and contents of guests' files that nothing needed any more.",
            ["kind"],
            registry=registry,
        )
        self._kept = Gauge(
            "sandboxd_kept_files_bytes",
            "What manifests and contents of guests' files took when last collected.",
            ["kind"],
            registry=registry,
        )
        for kind in KEPT_FILES:
            self._removed.labels(kind)
            self._kept.labels(kind)

    def _measure_logins(self, registry: CollectorRegistry) -> None:
        self._certified = Counter(
            "sandboxd_ssh_certificates_issued",
            "Logins to guests that were signed for callers.",
            registry=registry,
        )
        self._logins = Counter(
            "sandboxd_ssh_sessions_started",
            "Connections to guests that callers had carried.",
            registry=registry,
        )
        self._logins_held = Gauge(
            "sandboxd_ssh_sessions_open",
            "Connections to guests that are carried for callers now.",
            registry=registry,
        )

    def answered(self, path: str, method: str, status: int, seconds: float) -> None:
        """Count an answer of the API by its operation; `path` is a template of ours or `other`."""
        self._answers.tell(path, method, status, seconds)

    def decided(self, result: str, refusals: Mapping[str, int], seconds: float) -> None:
        """Count a placement decision: its outcome, its refusals by filter, its duration."""
        self._decisions.labels(result).inc()
        self._decision_seconds.observe(seconds)
        for name, count in refusals.items():
            self._rejections.labels(name).inc(count)

    def passed(self, controller: str, seconds: float) -> None:
        """Count a finished pass of a loop."""
        self._passes.labels(controller).inc()
        self._pass_seconds.labels(controller).observe(seconds)
        self._pass_at.labels(controller).set(self._clock.now().timestamp())

    def rested(self, controller: str) -> None:
        """Tell no last pass of a loop that has nothing to do: its age would look like a stall."""
        self._pass_at.remove(controller)

    def became(self, before: Sandbox, after: Sandbox) -> None:
        """Count what a change of state says of a sandbox's first start, or of its end."""
        if after.state is SandboxState.DESTROYED:
            self._ended(after)
        elif before.running_at is None and before.state in _COMING_UP:
            self._came_up(before, after)

    def forgotten(self, sandbox: Sandbox) -> None:
        """Count the end of a sandbox whose record was closed without proof."""
        self._ended(sandbox)

    def audited(self, report: AuditReport) -> None:
        """Record what the latest audit found, and how far it could see."""
        self._audits.tell(report)

    def expired(self, action: str) -> None:
        """Count a lease that ended: `destroy` or `stop`."""
        self._expired.labels(action).inc()

    def moved(self, failure: str) -> None:
        """Count a sandbox that left a host which failed it, by the code of the failure."""
        self._moved.labels(failure).inc()

    def snapped(self, operation: str, result: str) -> None:
        """Count a snapshot that was made, gone back to or deleted, and how that ended."""
        self._snapped.labels(operation, result).inc()

    def published(self, forge: str, status: str) -> None:
        """Count a publication that came to a status on a kind of forge."""
        self._published.labels(forge, status.lower()).inc()

    def commanded(self) -> None:
        """Count a command that a guest is to be sent."""
        self._commands_started.inc()
        self._commands_running.inc()

    def command_ended(self, status: str) -> None:
        """Count a command's end, by its status."""
        self._commands_ended.labels(status).inc()
        self._commands_running.dec()

    def playing(self, plays: int) -> None:
        """Record how many plays of stored playbooks are in progress."""
        self._plays_running.set(plays)

    def played(self, status: str) -> None:
        """Count the end of a play on one sandbox, by its status."""
        self._plays_ended.labels(status).inc()

    def collected(self, kind: str, files: int, left_bytes: int) -> None:
        """Count kept files that were removed, `manifests` or `contents`, and what is left."""
        self._removed.labels(kind).inc(files)
        self._kept.labels(kind).set(left_bytes)

    def certified(self) -> None:
        """Count a login that was signed for a caller."""
        self._certified.inc()

    def logged_in(self) -> None:
        """Count a connection to a guest that is carried for a caller."""
        self._logins.inc()
        self._logins_held.inc()

    def logged_out(self) -> None:
        """Count the end of a carried connection."""
        self._logins_held.dec()

    def parked(self) -> None:
        """Count a bug that parked a sandbox or a host."""
        self._parked.inc()

    def lagged(self, seconds: float) -> None:
        """Record how late the event loop woke."""
        self._lag.set(seconds)

    def stuck(self, parts: int) -> None:
        """Record how many parts of the daemon do not turn as they should."""
        self._stuck.set(parts)

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

    def _ended(self, sandbox: Sandbox) -> None:
        code = sandbox.reason_code
        reason = ENDINGS[Ending(code)] if code in _ENDING_CODES else OTHERWISE
        lived = (sandbox.updated_at - sandbox.created_at).total_seconds()
        self._destroyed.labels(reason).inc()
        self._lifetimes.labels(reason).observe(max(0.0, lived))

    def _timed(self, phase: str, since: datetime, until: datetime) -> None:
        self._create_seconds.labels(phase).observe(max(0.0, (until - since).total_seconds()))

    def _begin(self) -> None:
        """Make the series whose labels are known, so that they start at zero."""
        for result in DECISIONS:
            self._decisions.labels(result)
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
        for forge, status in product(FORGES, PublicationStatus):
            self._published.labels(forge, status.value.lower())
        for ended in set(CommandStatus) - {CommandStatus.RUNNING}:
            self._commands_ended.labels(ended.value.lower())
        for action in OnExpire:
            self._expired.labels(action.value)
