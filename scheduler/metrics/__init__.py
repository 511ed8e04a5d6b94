"""What Prometheus scrapes: counters kept in memory and one snapshot of the records, nothing else.

A scrape touches neither database nor host. No label is ever taken from a guest or a caller, and
there is no series per sandbox, so the number of series is bounded by hosts and code.
"""

from scheduler.metrics.lag import LagProbe
from scheduler.metrics.listener import serve
from scheduler.metrics.meter import Meter
from scheduler.metrics.page import MetricsPage
from scheduler.metrics.snapshot import MetricsSnapshot, Snapshots

__all__ = ["LagProbe", "Meter", "MetricsPage", "MetricsSnapshot", "Snapshots", "serve"]
