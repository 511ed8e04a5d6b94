"""Writing down what runs already: the records a marked domain gets back, in one unit of work.

Until now the domain counted as somebody else's use of its host. That charge is taken back in the
same unit, so that what is merely written down never counts twice against the limits (I1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from scheduler.errors import AlreadyExists, Conflict, NotFound
from scheduler.lifecycle.restoration import Restoration
from scheduler.lifecycle.usage import unmanaged
from scheduler.model import Event, HostResources, Inventory, Resources, Sandbox
from scheduler.store import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Who has it done, why, and whether limits may be exceeded for it."""

    kind: str
    """The event's kind, such as `sandbox.adopted`."""
    actor: str
    at: datetime
    reason: str = ""
    beyond_limits: bool = False


def enrol(tx: Transaction, restoration: Restoration, inventory: Inventory, order: Order) -> Sandbox:
    """Write the records of a marked domain of this listing.

    Raises `Conflict` when there is a record already, its name is taken, or its host's limits do
    not allow it. Nothing that the database would refuse is tried, so one unit may enrol many.
    """
    sandbox, claim = restoration.sandbox, restoration.claim
    _check_free(tx, restoration)
    before = tx.hosts.get(claim.host_id)
    _observe(tx, before, _beside(tx, before, restoration, inventory), order.at)
    try:
        exceeded = _charge(tx, restoration, beyond_limits=order.beyond_limits)
    except Conflict:
        _observe(tx, before, _unmanaged_of(before), order.at)
        raise
    tx.sandboxes.add(sandbox)
    for volume in restoration.volumes:
        tx.volumes.add(volume)
    tx.events.add(
        Event(
            at=order.at,
            kind=order.kind,
            actor=order.actor,
            sandbox_id=sandbox.id,
            host_id=claim.host_id,
            reason_code=sandbox.reason_code,
            message=f"{sandbox.reason_message}{f': {order.reason}' if order.reason else ''}",
            evidence={
                "state": sandbox.state.value,
                "desired_state": sandbox.desired_state.value,
                "domain_uuid": sandbox.domain_uuid,
                "volumes": [volume.name for volume in restoration.volumes],
                "expires_at": sandbox.expires_at.isoformat() if sandbox.expires_at else None,
                "beyond_limits": exceeded,
            },
        )
    )
    return sandbox


def _check_free(tx: Transaction, restoration: Restoration) -> None:
    sandbox, host_id = restoration.sandbox, restoration.claim.host_id
    try:
        known = tx.sandboxes.get(sandbox.id)
    except NotFound:
        pass
    else:
        raise Conflict(
            f"sandbox {sandbox.id} is recorded already; it is {known.state}",
            remedy=f"look at it: sandboxctl show {sandbox.id}",
            details={"state": known.state.value},
        )
    try:
        other = tx.sandboxes.by_name(sandbox.sandbox_name)
    except NotFound:
        pass
    else:
        raise AlreadyExists(
            f"the name {sandbox.sandbox_name} of {sandbox.id} was given to {other.id} meanwhile",
            remedy=f"delete {other.id}, or reap this one",
            details={"sandbox_name": sandbox.sandbox_name, "held_by": other.id},
        )
    taken = {one.name for one in restoration.volumes} & {
        one.name for one in tx.volumes.of_host(host_id)
    }
    if taken:
        raise Conflict(
            f"volume {min(taken)} of {sandbox.id} is listed for something else already",
            remedy="wait until what a destroyed sandbox left there is removed",
            details={"volumes": sorted(taken)},
        )


def _beside(
    tx: Transaction, host: HostResources, restoration: Restoration, inventory: Inventory
) -> Resources:
    """Return what the host is charged beside claims once the domain and its volumes count as ours.

    Of storage that is less by what they take: all else stays charged, images and copies under way
    to the host included, of which a listing shows a part at most.
    """
    ours = {one.domain_uuid for one in tx.sandboxes.of_host(host.id) if one.domain_uuid}
    listed = {one.name for one in tx.volumes.of_host(host.id)}
    its = {volume.name for volume in restoration.volumes}
    foreign = unmanaged(inventory, ours, listed)
    others = unmanaged(inventory, {*ours, restoration.sandbox.domain_uuid or ""}, {*listed, *its})
    left_mb = host.unmanaged_storage_mb - (foreign.storage_mb - others.storage_mb)
    return replace(others, storage_mb=max(others.storage_mb, left_mb))


def _observe(tx: Transaction, host: HostResources, foreign: Resources, at: datetime) -> None:
    tx.hosts.observe(
        host.id,
        at=at,
        unmanaged_cpus=foreign.vcpus,
        unmanaged_memory_mb=foreign.memory_mb,
        unmanaged_storage_mb=foreign.storage_mb,
    )


def _unmanaged_of(host: HostResources) -> Resources:
    return Resources(
        vcpus=host.unmanaged_cpus,
        memory_mb=host.unmanaged_memory_mb,
        storage_mb=host.unmanaged_storage_mb,
    )


def _charge(
    tx: Transaction, restoration: Restoration, *, beyond_limits: bool
) -> Mapping[str, object] | None:
    """Charge the host; return what was short when its limits were exceeded for it."""
    try:
        tx.allocations.record(restoration.claim)
    except Conflict as refused:
        short = refused.details
        if short.get("filter") == "anti_affinity":
            raise
        if not beyond_limits:
            raise Conflict(
                f"sandbox {restoration.sandbox.id} would exceed the limits of its host: "
                f"{short.get('filter')} has {short.get('have')}, needs {short.get('need')}",
                remedy="it runs on as it is; make room, raise the host's limits, or use force",
                details=short,
            ) from refused
        tx.allocations.record(restoration.claim, beyond_limits=True)
        return short
    return None
