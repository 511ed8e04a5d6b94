"""The text that a scrape gets: the meter, the snapshot and the process, rendered together."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from scheduler.clock import Clock
from scheduler.metrics.families import families
from scheduler.metrics.meter import Meter
from scheduler.metrics.snapshot import MetricsSnapshot
from scheduler.release import Release

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


@dataclass(frozen=True, slots=True)
class _Snapshot(Collector):
    latest: Callable[[], MetricsSnapshot]
    clock: Clock
    release: Release

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            "sandboxd_build_info",
            "What is running.",
            labels=("version", "revision", "python_version"),
        )
        release = self.release
        names = (release.version, release.revision or "", platform.python_version())
        build.add_metric(names, 1.0)
        yield build
        yield from families(self.latest(), self.clock.now())


class _WithoutCreated(Collector):
    """Leaves out the times of creation that the library adds to every counter.

    They double the number of series, and the library's own switch is one for the whole process.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [s for s in metric.samples if not s.name.endswith("_created")]
            yield metric


class MetricsPage:
    """Renders the page; safe to call from any thread."""

    def __init__(
        self, meter: Meter, latest: Callable[[], MetricsSnapshot], clock: Clock, *, release: Release
    ) -> None:
        self.meter = meter
        registry = CollectorRegistry()
        registry.register(_Snapshot(latest, clock, release))
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._collectors = (_WithoutCreated(meter.registry), registry)

    def families(self) -> Iterator[Metric]:
        """Yield every family of the page."""
        for collector in self._collectors:
            yield from collector.collect()

    def render(self) -> bytes:
        """Return the page in Prometheus's text format."""
        return b"".join(generate_latest(collector) for collector in self._collectors)
