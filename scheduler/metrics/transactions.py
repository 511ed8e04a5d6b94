"""What the store's transactions took, as metric families."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import HistogramMetricFamily, Metric

from scheduler.metrics.histograms import add
from scheduler.store import Timings


def transaction_families(timings: Timings) -> Iterator[Metric]:
    """Yield the families about transactions, by the way they came in."""
    for name, text, by_kind in (
        (
            "transaction_duration_seconds",
            "How long transactions took once begun; writes that were committed together are one.",
            timings.lasted,
        ),
        (
            "transaction_wait_seconds",
            "How long transactions waited to begin: for a connection, or behind other writers.",
            timings.waited,
        ),
    ):
        family = HistogramMetricFamily(f"sandboxd_store_{name}", text, labels=("kind",))
        for kind, durations in by_kind.items():
            add(family, (kind.value,), durations)
        yield family
