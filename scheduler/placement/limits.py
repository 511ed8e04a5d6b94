"""How much of a host may be claimed: its totals, less reserves, times ratios, less foreign use.

Ratios are taken as the decimals an operator wrote (0.29 of 100 is 29): floor over binary floats
would lose a unit here and there, and nobody could say where it went.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from scheduler.model import HostResources, Resources


def limit_of(host: HostResources) -> Resources:
    """Return the most that the allocations on `host` may sum up to, never negative."""
    return Resources(
        vcpus=_limit(
            host.total_cpus, host.system_reserved_cpus, host.ratio_cpu, host.unmanaged_cpus
        ),
        memory_mb=_limit(
            host.total_memory_mb,
            host.system_reserved_memory_mb,
            host.ratio_memory,
            host.unmanaged_memory_mb,
        ),
        storage_mb=_limit(
            host.total_storage_mb,
            host.system_reserved_storage_mb,
            host.ratio_storage,
            host.unmanaged_storage_mb,
        ),
    )


def with_limits(host: HostResources) -> HostResources:
    """Return `host` with every `limit_*` written from its other fields."""
    limit = limit_of(host)
    return replace(
        host,
        limit_cpus=limit.vcpus,
        limit_memory_mb=limit.memory_mb,
        limit_storage_mb=limit.storage_mb,
        limit_sandboxes=host.max_sandboxes,
    )


def _limit(total: int, system_reserved: int, ratio: float, unmanaged: int) -> int:
    offered = Decimal(total - system_reserved) * Decimal(repr(ratio))
    # A reserve beyond the total leaves nothing; unmanaged use must not be forgiven by it.
    return max(0, int(offered // 1) - unmanaged)
