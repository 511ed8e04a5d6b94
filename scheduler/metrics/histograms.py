"""Durations that another room has counted, as Prometheus tells them: cumulative, by upper bound."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.utils import floatToGoString

from scheduler.durations import Durations

INFINITE = "+Inf"


def add(family: HistogramMetricFamily, labels: Sequence[str], durations: Durations) -> None:
    """Add the series of some durations to a family."""
    bounds = (*map(floatToGoString, durations.bounds), INFINITE)
    counts = map(float, accumulate(durations.counts))
    buckets = list(zip(bounds, counts, strict=True))
    family.add_metric(labels, buckets=buckets, sum_value=durations.sum_seconds)
