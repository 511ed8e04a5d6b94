"""How long the API's answers take, under labels of its own operations: nothing a caller sends."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram

_SECONDS = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)
"""Few, as there are a hundred operations."""


class Answers:
    """The histogram of all operations."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "sandboxd_http_request_duration_seconds",
            "How long requests of the API took until the answer began; those with `wait` left out.",
            ["path", "method", "status"],
            buckets=_SECONDS,
            registry=registry,
        )

    def tell(self, path: str, method: str, status: int, seconds: float) -> None:
        """Count an answer under its operation's path and the class of its status."""
        self._seconds.labels(path, method, f"{status // 100}xx").observe(seconds)
