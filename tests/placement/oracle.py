"""Placement once more, host by host in plain Python: slow, obvious and without a column."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from scheduler.model import HostHealth, HostResources, HostState, VirtType
from scheduler.placement import Demand, Policy
from tests.placement.fleets import NOW

STALE_AFTER_SECONDS = 60.0


def refused_by(host: HostResources, demand: Demand, groups: Collection[str]) -> list[str]:
    """Return every filter that refuses the host, in the documented order."""
    wanted = demand.resources
    fresh_since = NOW - timedelta(seconds=STALE_AFTER_SECONDS)
    meant, proven = host.virt_type, host.proven_virt_type
    as_meant = meant is VirtType.AUTO or proven is None or proven is meant
    limit = host.limit_sandboxes
    passes = {
        "pin": demand.host is None or demand.host == host.name,
        "state": host.state is HostState.ACTIVE,
        "health": host.health is HostHealth.UP,
        "freshness": host.observed_at is not None and host.observed_at >= fresh_since,
        "architecture": as_meant and (demand.arch is None or demand.arch == host.arch),
        "labels": demand.selector.items() <= host.labels.items(),
        "image": demand.image_digest is not None or demand.image in host.observed_images,
        "network": (demand.network or host.network) in host.observed_networks
        and demand.network in (None, host.network, *host.networks),
        "pool": host.observed_pool_active and (demand.pool or host.pool) == host.pool,
        "breaker": host.barred(demand.image, NOW) is None,
        "tried": host.name not in demand.tried,
        "cpu": host.reserved_cpus + wanted.vcpus <= host.limit_cpus,
        "memory": host.reserved_memory_mb + wanted.memory_mb <= host.limit_memory_mb,
        "storage": host.reserved_storage_mb + wanted.storage_mb <= host.limit_storage_mb,
        "limits": limit is None or host.reserved_sandboxes + 1 <= limit,
        # Nobody holds a replica here: every host would need a copy.
        "image_room": demand.image_digest is None
        or host.reserved_storage_mb + wanted.storage_mb + demand.image_mb <= host.limit_storage_mb,
        "anti_affinity": demand.anti_affinity_group not in groups,
    }
    return [name for name, passed in passes.items() if not passed]


def may_ever(host: HostResources, demand: Demand) -> bool:
    """Return whether the host, empty, well and ACTIVE, could take the demand."""
    wanted, never_seen = demand.resources, host.observed_at is None
    offered = (
        (demand.image_digest is not None or demand.image in host.observed_images)
        and (
            demand.image_digest is None
            or wanted.storage_mb + demand.image_mb <= host.limit_storage_mb
        )
        and host.limit.covers(wanted)
        and host.limit_sandboxes != 0
    )
    return (
        demand.host in (None, host.name)
        and host.name not in demand.tried
        and host.state is not HostState.REMOVING
        and demand.selector.items() <= host.labels.items()
        and demand.pool in (None, host.pool)
        and demand.network in (None, host.network, *host.networks)
        and (host.arch is None or demand.arch in (None, host.arch))
        and (offered or never_seen)
    )


def left_of(host: HostResources, demand: Demand) -> list[float]:
    """Return the share of each resource that would be left free."""
    limit, free, wanted = host.limit, host.free, demand.resources
    amounts = (
        (limit.vcpus, free.vcpus, wanted.vcpus),
        (limit.memory_mb, free.memory_mb, wanted.memory_mb),
        (limit.storage_mb, free.storage_mb, wanted.storage_mb),
    )
    inverses = [1 / most if most else 0.0 for most, _, _ in amounts]
    return [
        has * inverse - inverse * want
        for inverse, (_, has, want) in zip(inverses, amounts, strict=True)
    ]


def score_of(policy: Policy, host: HostResources, demand: Demand) -> float:
    """Return the score by the policy's definition."""
    left = left_of(host, demand)
    match policy:
        case Policy.SPREAD:
            return min(left)
        case Policy.BALANCED:
            return min(left) - (max(left) - min(left))
        case Policy.PACK:
            cpu, memory, storage = left
            uneven = (cpu - storage) ** 2 + (memory - cpu) ** 2 + (storage - memory) ** 2
            opening = 0.0 if host.reserved_sandboxes else 0.018
            return -(uneven + opening)
