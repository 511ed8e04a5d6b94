"""Is the machine that answers the one we know? A host is its UUID, never its name or address."""

from __future__ import annotations

from collections.abc import Iterable

from scheduler.model.hosts import HostResources
from scheduler.model.observations import Inventory


def identity_fault(
    host: HostResources, inventory: Inventory, others: Iterable[HostResources]
) -> str | None:
    """Return why what was seen must not be believed of `host`, or None when it may.

    The first sight pins the UUID; another one later, none at all, or one that a second record
    already has, is refused: acting on the wrong machine would look like every sandbox being lost.
    """
    seen = inventory.host_uuid
    if seen is None:
        return (
            f"host {host.name} tells no UUID of its own; "
            "set host_uuid in its libvirtd.conf and restart libvirtd"
        )
    if host.host_uuid is not None and seen != host.host_uuid:
        return (
            f"host {host.name} was {host.host_uuid} and now says {seen}: "
            "another machine answers at its address"
        )
    for other in others:
        if other.id != host.id and other.host_uuid == seen:
            return f"host {host.name} is the same machine as {other.name} ({seen})"
    return None
