"""Commands in guests: how many, how they ended and how long they took."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from scheduler.model import CommandStatus

_SECONDS = (0.1, 0.5, 2.5, 10.0, 60.0, 300.0, 1800.0, 4 * 3600.0)


class Commands:
    """The counters, the gauge and the histogram of commands."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._started = Counter(
            "sandboxd_commands_started",
            "Commands that a guest was to be sent.",
            registry=registry,
        )
        self._ended = Counter(
            "sandboxd_commands_ended",
            "Commands that have ended, by how.",
            ["status"],
            registry=registry,
        )
        self._running = Gauge(
            "sandboxd_commands_running",
            "Commands that this daemon runs in guests now.",
            registry=registry,
        )
        self._seconds = Histogram(
            "sandboxd_command_duration_seconds",
            "How long commands took from being recorded to their end, by how they ended.",
            ["status"],
            buckets=_SECONDS,
            registry=registry,
        )
        for over in set(CommandStatus) - {CommandStatus.RUNNING}:
            self._ended.labels(over.value.lower())
            self._seconds.labels(over.value.lower())

    def started(self) -> None:
        """Count a command that a guest is to be sent."""
        self._started.inc()
        self._running.inc()

    def ended(self, status: str, seconds: float) -> None:
        """Count a command's end, and how long it took."""
        self._ended.labels(status).inc()
        self._seconds.labels(status).observe(seconds)
        self._running.dec()
