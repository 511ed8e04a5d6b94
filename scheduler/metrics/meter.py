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
from scheduler.metrics.backups import Backups
from scheduler.metrics.changes import Changes
from scheduler.metrics.commands import Commands
from scheduler.metrics.lives import Lives
from scheduler.model import DrainState, PlayStatus, PublicationStatus, Sandbox
from scheduler.service.audits import AuditReport

DECISIONS = ("placed", "capacity_exhausted", "constraint_impossible")
KEPT_FILES = ("manifests", "contents")
FORGES = ("github", "gitlab", "gitea", "forgejo")

_FAST = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)
_PASSES = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)


class Meter:
    """Counters, histograms and gauges in a registry of their own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.registry = CollectorRegistry()
        self._measure_placement(self.registry)
        self._measure_publications(self.registry)
        self._measure_drains(self.registry)
        self._measure_loops(self.registry)
        self._measure_plays(self.registry)
        self._measure_kept_files(self.registry)
        self._measure_logins(self.registry)
        self._answers = Answers(self.registry)
        self._audits = Audits(self.registry)
        self._lives = Lives(self.registry)
        self._commands = Commands(self.registry)
        self._backups = Backups(self.registry)
        self._changes = Changes(self.registry)
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

    def _measure_publications(self, registry: CollectorRegistry) -> None:
        self._published = Counter(
            "sandboxd_publications",
            "Steps of change sets into repositories, by the kind of forge.",
            ["forge", "status"],
            registry=registry,
        )

    def _measure_drains(self, registry: CollectorRegistry) -> None:
        self._drains_ended = Counter(
            "sandboxd_drains_ended",
            "Drains that have ended, by how.",
            ["status"],
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
        self._lives.became(before, after)

    def forgotten(self, sandbox: Sandbox) -> None:
        """Count the end of a sandbox whose record was closed without proof."""
        self._lives.ended(sandbox)

    def audited(self, report: AuditReport) -> None:
        """Record what the latest audit found, and how far it could see."""
        self._audits.tell(report)

    def expired(self, action: str) -> None:
        """Count a lease that ended: `destroy` or `stop`."""
        self._lives.expired(action)

    def moved(self, failure: str) -> None:
        """Count a sandbox that left a host which failed it, by the code of the failure."""
        self._lives.moved(failure)

    def snapped(self, operation: str, result: str) -> None:
        """Count a snapshot that was made, gone back to or deleted, and how that ended."""
        self._lives.snapped(operation, result)

    def drained(self, status: str) -> None:
        """Count the end of a drain, by its status."""
        self._drains_ended.labels(status).inc()

    def compared(self, result: str, seconds: float | None) -> None:
        """Count a diff by how it ended, and how long a computed one took."""
        self._changes.compared(result, seconds)

    def backed_up(self, newest_at: datetime | None) -> None:
        """Record when the newest backup was made; None while there is none."""
        self._backups.tell(newest_at)

    def backup_ended(self, result: str) -> None:
        """Count a backup that was to be made: `done` or `failed`."""
        self._backups.ended(result)

    def published(self, forge: str, status: str) -> None:
        """Count a publication that came to a status on a kind of forge."""
        self._published.labels(forge, status.lower()).inc()

    def commanded(self) -> None:
        """Count a command that a guest is to be sent."""
        self._commands.started()

    def command_ended(self, status: str, seconds: float) -> None:
        """Count a command's end, by its status, and how long it took."""
        self._commands.ended(status, seconds)

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

    def _begin(self) -> None:
        """Make the series whose labels are known, so that they start at zero."""
        for result in DECISIONS:
            self._decisions.labels(result)
        for forge, status in product(FORGES, PublicationStatus):
            self._published.labels(forge, status.value.lower())
        for over in set(DrainState) - {DrainState.ACTIVE}:
            self._drains_ended.labels(over.value.lower())
