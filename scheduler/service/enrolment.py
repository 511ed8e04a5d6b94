"""Writing down what runs already: the records a marked domain gets back, in one unit of work.

Until now the domain counted as somebody else's use of its host. That charge is taken back in the
same unit, so that what is merely written down never counts twice against the limits (I1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from scheduler.errors import AlreadyExists, Conflict, NotFound
from scheduler.lifecycle.restoration import Restoration, found_elsewhere
from scheduler.lifecycle.usage import unmanaged
from scheduler.model import Event, HostResources, Inventory, Resources, Sandbox, Snapshot
from scheduler.service.sandbox_records import put
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
    _check_free(tx, restoration)
    exceeded = _charged(tx, restoration, inventory, order)
    tx.sandboxes.add(restoration.sandbox)
    _list_and_tell(tx, restoration, restoration.sandbox, order, {"beyond_limits": exceeded})
    return restoration.sandbox


def take_home(
    tx: Transaction, restoration: Restoration, inventory: Inventory, order: Order
) -> Sandbox:
    """Write that a recorded sandbox is where this listing has it, and not where it is recorded.

    What it had claimed there is given back once nothing is left there. Raises `Conflict` as `enrol`
    does. Its snapshots were there, and are told as gone (I13).
    """
    before = tx.sandboxes.get(restoration.sandbox.id)
    _check_unlisted(tx, restoration)
    tx.allocations.mark_releasing(before.id, before.host_id or "")
    exceeded = _charged(tx, restoration, inventory, order)
    for snapshot in tx.snapshots.of_sandbox(before.id):
        tx.snapshots.remove(snapshot.id)
        tx.events.add(_snapshot_gone(before, snapshot, order))
    host = tx.hosts.get(restoration.claim.host_id)
    after = found_elsewhere(before, restoration, host, order.at)
    evidence = {"from_host": before.host_name, "to_host": host.name, "beyond_limits": exceeded}
    moved = put(tx, before, after, actor=order.actor, evidence=evidence)
    _list_and_tell(tx, restoration, moved, order, evidence)
    return moved


def _snapshot_gone(sandbox: Sandbox, snapshot: Snapshot, order: Order) -> Event:
    return Event(
        at=order.at,
        kind="snapshot.deleted",
        actor=order.actor,
        sandbox_id=sandbox.id,
        host_id=sandbox.host_id,
        reason_code=order.kind,
        message=f"snapshot {snapshot.name} was on {sandbox.host_name}, where {sandbox.id} is "
        "no longer",
        evidence={"snapshot_id": snapshot.id, "name": snapshot.name},
    )


def _charged(
    tx: Transaction, restoration: Restoration, inventory: Inventory, order: Order
) -> Mapping[str, object] | None:
    """Charge the host for what is there; return what was short when its limits were exceeded."""
    before = tx.hosts.get(restoration.claim.host_id)
    _observe(tx, before, _beside(tx, before, restoration, inventory), order.at)
    try:
        return _charge(tx, restoration, beyond_limits=order.beyond_limits)
    except Conflict:
        _observe(tx, before, _unmanaged_of(before), order.at)
        raise


def _list_and_tell(
    tx: Transaction,
    restoration: Restoration,
    sandbox: Sandbox,
    order: Order,
    evidence: Mapping[str, object],
) -> None:
    for volume in restoration.volumes:
        tx.volumes.add(volume)
    tx.events.add(
        Event(
            at=order.at,
            kind=order.kind,
            actor=order.actor,
            sandbox_id=sandbox.id,
            host_id=sandbox.host_id,
            reason_code=sandbox.reason_code,
            message=f"{sandbox.reason_message}{f': {order.reason}' if order.reason else ''}",
            evidence={
                "state": sandbox.state.value,
                "desired_state": sandbox.desired_state.value,
                "domain_uuid": sandbox.domain_uuid,
                "volumes": [volume.name for volume in restoration.volumes],
                "expires_at": sandbox.expires_at.isoformat() if sandbox.expires_at else None,
                **evidence,
            },
        )
    )


def _check_free(tx: Transaction, restoration: Restoration) -> None:
    sandbox = restoration.sandbox
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
    _check_unlisted(tx, restoration)


def _check_unlisted(tx: Transaction, restoration: Restoration) -> None:
    sandbox, host_id = restoration.sandbox, restoration.claim.host_id
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
