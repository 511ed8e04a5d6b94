"""Calls to hosts as metric families: kinds of calls for all hosts together, a few sums for each.

Both at once would be two dozen kinds times a dozen series for each host: of a thousand hosts, a
quarter of a million.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from scheduler.hosts.calls import Calls, Fault, HostCalls
from scheduler.metrics.histograms import add
from scheduler.model import HostResources

_NONE = HostCalls()
"""Those of a host that this daemon has not asked yet."""


def call_families(calls: Calls, hosts: tuple[HostResources, ...]) -> Iterator[Metric]:
    """Yield the families about calls; those of hosts for the ones there are."""
    yield from _of_all(calls)
    yield from _of_each([(host.name, calls.hosts.get(host.id, _NONE)) for host in hosts])


def _of_all(calls: Calls) -> Iterator[Metric]:
    lasted = HistogramMetricFamily(
        "sandboxd_libvirt_call_duration_seconds",
        "How long calls to hosts were with them, by kind; those that passed their deadline too.",
        labels=("call",),
    )
    failed = CounterMetricFamily(
        "sandboxd_libvirt_call_errors",
        "Calls to hosts that failed, by kind and by why.",
        labels=("call", "code"),
    )
    for verb, durations in calls.lasted.items():
        call = verb.name.lower()
        add(lasted, (call,), durations)
        for fault in Fault:
            failed.add_metric((call, fault.value), float(calls.failed[verb, fault]))
    yield lasted
    yield failed
    waited = HistogramMetricFamily(
        "sandboxd_libvirt_call_wait_seconds",
        "How long calls to hosts waited for slots, threads and turns of the daemon's own.",
    )
    add(waited, (), calls.waited)
    yield waited


def _of_each(hosts: list[tuple[str, HostCalls]]) -> Iterator[Metric]:
    lasted = SummaryMetricFamily(
        "sandboxd_host_libvirt_call_duration_seconds",
        "How long calls were with the host.",
        labels=("host",),
    )
    failed = CounterMetricFamily(
        "sandboxd_host_libvirt_call_errors",
        "Calls to the host that failed, by why; nothing until one has.",
        labels=("host", "code"),
    )
    for name, one in hosts:
        lasted.add_metric((name,), one.made, one.seconds)
        # Most hosts fail nobody, and eight zeros for each are more than all else about its calls.
        for fault in Fault if one.failed else ():
            failed.add_metric((name, fault.value), float(one.failed[fault]))
    yield lasted
    yield failed
    for kind, text, values in (
        (
            "libvirt_call_wait_seconds",
            "How long calls to the host waited for slots, threads and turns of the daemon's own.",
            [one.waited_seconds for _, one in hosts],
        ),
        (
            "reconnects",
            "Connections to the host that took the place of one that was lost or hung.",
            [float(one.reconnects) for _, one in hosts],
        ),
        (
            "libvirt_events",
            "Changes of domains that the host told by itself.",
            [float(one.events) for _, one in hosts],
        ),
    ):
        family = CounterMetricFamily(f"sandboxd_host_{kind}", text, labels=("host",))
        for (name, _), value in zip(hosts, values, strict=True):
            family.add_metric((name,), value)
        yield family
