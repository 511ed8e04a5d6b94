"""What became different in sandboxes: how often it was asked for, and what it took to find out."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

RESULTS = ("computed", "stored", "failed")
_SECONDS = (0.01, 0.05, 0.25, 1.0, 5.0, 30.0)


class Changes:
    """The counter and the histogram of diffs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._diffs = Counter(
            "sandboxd_diffs",
            "Diffs that were asked for, by whether they were computed or there already, or failed.",
            ["result"],
            registry=registry,
        )
        self._seconds = Histogram(
            "sandboxd_diff_duration_seconds",
            "How long computing a diff from its two manifests took.",
            buckets=_SECONDS,
            registry=registry,
        )
        for result in RESULTS:
            self._diffs.labels(result)

    def compared(self, result: str, seconds: float | None) -> None:
        """Count a diff by how it ended, and how long a computed one took."""
        self._diffs.labels(result).inc()
        if seconds is not None:
            self._seconds.observe(seconds)
