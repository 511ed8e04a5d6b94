"""What a host's other tenants use: everything there that is not ours is counted, never touched."""

from __future__ import annotations

from collections.abc import Collection

from scheduler.model.observations import DomainState, Inventory
from scheduler.model.resources import Resources

_IDLE = frozenset({DomainState.SHUT_OFF, DomainState.CRASHED})
_MIB = 1024 * 1024


def unmanaged(
    inventory: Inventory, ours: Collection[str], our_volumes: Collection[str]
) -> Resources:
    """Return what foreign domains and foreign volumes of this host take.

    `ours` are the UUIDs of our live records and `our_volumes` the names listed for this host and
    pool. A marked domain without a record is charged here, since no allocation stands for it.
    """
    foreign = [
        domain
        for domain in inventory.domains
        if domain.state not in _IDLE and not (domain.mark is not None and domain.uuid in ours)
    ]
    pool = inventory.pool
    held = 0
    if pool is not None:
        mine = sum(volume.physical for volume in pool.volumes if volume.name in our_volumes)
        held = max(0, pool.allocation - mine) // _MIB
    return Resources(
        vcpus=sum(domain.vcpus for domain in foreign),
        memory_mb=sum(domain.memory_mb for domain in foreign),
        storage_mb=held,
    )
