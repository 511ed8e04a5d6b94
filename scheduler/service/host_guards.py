"""What must be true of a host before it changes its state, its pool, or leaves the fleet."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from scheduler.errors import Conflict
from scheduler.model import HostResources, HostState
from scheduler.service.revisions import check_revision
from scheduler.store import Transaction

_FROM: Mapping[HostState, str] = {
    HostState.ACTIVE: "it takes sandboxes already",
    HostState.CORDONED: "uncordon it to let it take sandboxes",
    HostState.DRAINING: "abort the drain first",
    HostState.DRAINED: "uncordon it to let it take sandboxes",
    HostState.REMOVING: "add it again once it is gone",
}


def host_at(tx: Transaction, name: str, expected_revision: int | None) -> HostResources:
    """Return a host; raises `StaleRevision` unless it is at the revision, where one is named."""
    host = tx.hosts.by_name(name)
    check_revision(f"host {name}", host.revision, expected_revision)
    return host


def check_state(host: HostResources, expected: Collection[HostState], new: HostState) -> None:
    """Raise `Conflict`, telling what is true, unless the host is in an expected state."""
    if host.state not in expected:
        raise Conflict(
            f"host {host.name} is {host.state} and cannot become {new}",
            remedy=_FROM[host.state],
            details={"state": host.state.value},
        )


def check_empty(tx: Transaction, host: HostResources) -> None:
    """Raise `Conflict` while allocations, volumes or live sandboxes of ours are on the host."""
    placed = tx.sandboxes.placed_on(host.id)
    claimed = (allocation.sandbox_id for allocation in tx.allocations.of_host(host.id))
    there = (*claimed, *(sandbox.id for sandbox in placed.sandboxes), *placed.unreadable)
    held = list(dict.fromkeys(there))
    volumes = [volume.name for volume in tx.volumes.of_host(host.id)]
    volumes += [one.volume for one in tx.replicas.of_host(host.id) if one.volume not in volumes]
    if held or volumes:
        raise Conflict(
            f"host {host.name} still holds {len(held)} sandboxes and {len(volumes)} volumes",
            remedy="drain the host first; images that were meant for it go within a minute then",
            details={"sandboxes": held[:100], "volumes": volumes[:100]},
        )
