"""The daemon's own backups: when the newest was made, and how the making of them ends."""

from __future__ import annotations

from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge

RESULTS = ("done", "failed")


class Backups:
    """The gauge and the counter of backups.

    The gauge is there once the daemon has looked for backups the first time: where it makes none,
    nobody is to be told that they are overdue.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._newest: Gauge | None = None
        self._ended = Counter(
            "sandboxd_backups",
            "Backups that the daemon was to make by itself, and how that ended.",
            ["result"],
            registry=registry,
        )
        for result in RESULTS:
            self._ended.labels(result)

    def tell(self, newest_at: datetime | None) -> None:
        """Record when the newest backup there is was made, by whomever."""
        if self._newest is None:
            self._newest = Gauge(
                "sandboxd_backup_last_success_timestamp_seconds",
                "When the newest backup was made; 0 for none, and missing where none are made.",
                registry=self._registry,
            )
        self._newest.set(0.0 if newest_at is None else newest_at.timestamp())

    def ended(self, result: str) -> None:
        """Count a backup that was to be made."""
        self._ended.labels(result).inc()
