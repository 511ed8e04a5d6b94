"""A snapshot as metric families: each fact once, with its unit in its name.

A host's series exist while the host does; when it is removed they end with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from scheduler.lifecycle.health import stale
from scheduler.metrics.calls import call_families
from scheduler.metrics.images import image_families
from scheduler.metrics.snapshot import MetricsSnapshot
from scheduler.metrics.transactions import transaction_families
from scheduler.model import HostHealth, HostResources, HostState, SandboxState

MIB = 1024 * 1024
LIVE_STATES = tuple(state for state in SandboxState if state is not SandboxState.DESTROYED)

Number = Callable[[HostResources], float]

PER_HOST: Mapping[str, tuple[str, Number]] = {
    "cpu_capacity_cores": ("CPUs of the host.", lambda h: h.total_cpus),
    "cpu_reserved_cores": (
        "CPUs kept for the host itself.",
        lambda h: h.system_reserved_cpus,
    ),
    "cpu_unmanaged_cores": (
        "vCPUs of domains on the host that are not ours.",
        lambda h: h.unmanaged_cpus,
    ),
    "cpu_allocatable_cores": (
        "vCPUs that sandboxes may sum up to, after reserve, overcommit and foreign use.",
        lambda h: h.limit_cpus,
    ),
    "cpu_allocated_cores": ("vCPUs claimed by sandboxes.", lambda h: h.reserved_cpus),
    "memory_capacity_bytes": ("Memory of the host.", lambda h: h.total_memory_mb * MIB),
    "memory_reserved_bytes": (
        "Memory kept for the host itself.",
        lambda h: h.system_reserved_memory_mb * MIB,
    ),
    "memory_unmanaged_bytes": (
        "Memory of domains on the host that are not ours.",
        lambda h: h.unmanaged_memory_mb * MIB,
    ),
    "memory_allocatable_bytes": (
        "Memory that sandboxes may sum up to, after reserve, overcommit and foreign use.",
        lambda h: h.limit_memory_mb * MIB,
    ),
    "memory_allocated_bytes": (
        "Memory claimed by sandboxes, QEMU's overhead included.",
        lambda h: h.reserved_memory_mb * MIB,
    ),
}
PER_POOL: Mapping[str, tuple[str, Number]] = {
    "storage_capacity_bytes": ("Size of the pool.", lambda h: h.total_storage_mb * MIB),
    "storage_reserved_bytes": (
        "Storage kept for the host itself.",
        lambda h: h.system_reserved_storage_mb * MIB,
    ),
    "storage_unmanaged_bytes": (
        "Storage in the pool that is not ours.",
        lambda h: h.unmanaged_storage_mb * MIB,
    ),
    "storage_allocatable_bytes": (
        "Storage that sandboxes may sum up to, after reserve, overcommit and foreign use.",
        lambda h: h.limit_storage_mb * MIB,
    ),
    "storage_allocated_bytes": (
        "Storage claimed by sandboxes.",
        lambda h: h.reserved_storage_mb * MIB,
    ),
    "storage_available_bytes": (
        "Physical room left in the pool when it was last looked at.",
        lambda h: h.observed_storage_available_mb * MIB,
    ),
}


def families(snapshot: MetricsSnapshot, now: datetime) -> Iterator[Metric]:
    """Yield every family of the snapshot as of `now`."""
    hosts = snapshot.hosts
    yield _taken(snapshot)
    yield from _store(snapshot)
    yield from transaction_families(snapshot.timings)
    yield from call_families(snapshot.calls, hosts)
    yield _placeable(snapshot)
    yield _info(hosts)
    for name, (text, number) in PER_HOST.items():
        yield _gauge(name, text, {(h.name,): number(h) for h in hosts})
    for name, (text, number) in PER_POOL.items():
        yield _gauge(name, text, {(h.name, h.pool): number(h) for h in hosts}, "pool")
    yield from _condition(snapshot, now)
    yield _breakers(hosts, now)
    yield from _sandboxes(snapshot)
    yield from _drains(snapshot)
    yield from _authorities(snapshot)
    yield from image_families(snapshot)


def _gauge(
    name: str, text: str, values: Mapping[tuple[str, ...], float], *more: str
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"sandboxd_host_{name}", text, labels=("host", *more))
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _taken(snapshot: MetricsSnapshot) -> Metric:
    family = GaugeMetricFamily(
        "sandboxd_snapshot_timestamp_seconds",
        "When the records behind the gauges were read; 0 before the first time.",
    )
    taken = snapshot.taken_at
    family.add_metric((), 0.0 if taken is None else taken.timestamp())
    return family


def _placeable(snapshot: MetricsSnapshot) -> Metric:
    family = GaugeMetricFamily(
        "sandboxd_placeable_sandboxes",
        "How many more sandboxes of the default size fit now.",
    )
    if snapshot.placeable is not None:
        family.add_metric((), float(snapshot.placeable))
    return family


def _store(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    store = snapshot.store
    for name, text, fault in (
        ("readable", "Whether the database could be read the last time.", store.reading),
        ("writable", "Whether the database could be written the last time.", store.writing),
    ):
        yield GaugeMetricFamily(f"sandboxd_store_{name}", text, value=float(fault is None))
    faults = CounterMetricFamily(
        "sandboxd_store_faults",
        "Reads and writes that failed because of the database itself, by its trouble.",
        labels=("fault",),
    )
    for fault_name, count in store.met.items():
        faults.add_metric((fault_name,), float(count))
    yield faults


def _info(hosts: tuple[HostResources, ...]) -> Metric:
    names = ("address", "arch", "hypervisor_version", "libvirt_version", "transport")
    return _gauge(
        "info",
        "What the host is.",
        {(h.name, *(str(getattr(h, name) or "") for name in names)): 1.0 for h in hosts},
        *names,
    )


def _condition(snapshot: MetricsSnapshot, now: datetime) -> Iterator[Metric]:
    hosts, believed = snapshot.hosts, snapshot.stale_after_seconds
    yield _gauge(
        "up",
        "Whether the host answers its polls.",
        {(h.name,): float(h.health is HostHealth.UP) for h in hosts},
    )
    yield _gauge(
        "schedulable",
        "Whether the host may take new sandboxes, if it has room.",
        {(h.name,): float(_schedulable(h, now, believed)) for h in hosts},
    )
    yield _gauge(
        "state",
        "The operator's will: 1 for the state the host is in.",
        {(h.name, state.lower()): float(h.state is state) for h in hosts for state in HostState},
        "state",
    )
    yield _gauge(
        "health",
        "What polling says: 1 for the health the host has.",
        {(h.name, kind.lower()): float(h.health is kind) for h in hosts for kind in HostHealth},
        "health",
    )
    yield _gauge(
        "last_seen_timestamp_seconds",
        "When the host last answered a poll.",
        {(h.name,): h.last_seen_at.timestamp() for h in hosts if h.last_seen_at is not None},
    )
    yield _gauge(
        "inventory_age_seconds",
        "How old the facts are that placement uses.",
        {(h.name,): _age(h.observed_at, now) for h in hosts if h.observed_at is not None},
    )


def _breakers(hosts: tuple[HostResources, ...], now: datetime) -> Metric:
    kept_out: dict[tuple[str, ...], float] = {
        (host.name, scope): float(
            sum((one.image is None) is whole for one in host.breakers if one.retry_at > now)
        )
        for host in hosts
        for scope, whole in (("host", True), ("image", False))
    }
    return _gauge(
        "breakers_open",
        "What keeps builds off the host because builds there failed: all of them, or an image's.",
        kept_out,
        "scope",
    )


def _schedulable(host: HostResources, now: datetime, stale_after_seconds: float) -> bool:
    willing = host.state is HostState.ACTIVE and host.health is HostHealth.UP
    return willing and not stale(host.observed_at, now, stale_after_seconds)


def _age(moment: datetime, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds())


def _sandboxes(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    yield _gauge(
        "sandboxes",
        "Sandboxes on the host by state.",
        {
            (h.name, state.lower()): float(snapshot.sandboxes.get((h.id, state), 0))
            for h in snapshot.hosts
            for state in LIVE_STATES
        },
        "state",
    )
    yield _gauge(
        "sandboxes_limit",
        "How many sandboxes the host may have.",
        {(h.name,): float(h.max_sandboxes) for h in snapshot.hosts if h.max_sandboxes is not None},
    )
    family = GaugeMetricFamily(
        "sandboxd_sandbox_expired_pending",
        "Sandboxes whose lease is over and on whose end nobody has acted yet.",
    )
    family.add_metric((), float(snapshot.expired))
    yield family


def _drains(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    remaining = GaugeMetricFamily(
        "sandboxd_drain_remaining_sandboxes",
        "What still has to leave a host that is being drained.",
        labels=("host",),
    )
    deadline = GaugeMetricFamily(
        "sandboxd_drain_deadline_timestamp_seconds",
        "When the patience of a drain ends.",
        labels=("host",),
    )
    for drain in snapshot.drains:
        remaining.add_metric((drain.host_name,), float(drain.remaining))
        if drain.deadline_at is not None:
            deadline.add_metric((drain.host_name,), drain.deadline_at.timestamp())
    yield remaining
    yield deadline


def _authorities(snapshot: MetricsSnapshot) -> Iterator[Metric]:
    made = GaugeMetricFamily(
        "sandboxd_ssh_authority_created_timestamp_seconds",
        "When an SSH authority was made, or first seen.",
        labels=("authority", "state"),
    )
    guests = GaugeMetricFamily(
        "sandboxd_ssh_authority_guests",
        "Live sandboxes whose guests trust an SSH authority.",
        labels=("authority", "state"),
    )
    for one in snapshot.authorities:
        labels = (one.name, one.state.value.lower())
        made.add_metric(labels, one.created_at.timestamp())
        trusting = snapshot.guests_by_authority.get(one.fingerprint or "", 0)
        guests.add_metric(labels, float(trusting))
    yield made
    yield guests
