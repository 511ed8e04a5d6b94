"""From a marked domain back to the records that a lost database had of it.

State follows from what is seen, never from what the mark was signed with: a guest that is off stays
off. The lease begins anew, because the mark knows of no extension and nothing may end early (I10).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from scheduler.errors import Conflict, Invalid
from scheduler.lifecycle.alternates import rehosted
from scheduler.lifecycle.mark_documents import MarkedSandbox, read_mark
from scheduler.lifecycle.moving import unwished
from scheduler.model import (
    Allocation,
    AllocationState,
    DesiredState,
    DomainState,
    Ending,
    HostResources,
    Mark,
    ObservedDomain,
    ObservedPool,
    ObservedVolume,
    Overhead,
    Sandbox,
    SandboxState,
    Volume,
    VolumeRole,
    VolumeState,
)

LEAST_LEASE_SECONDS = 3600
"""A restored sandbox lives at least this long, so that its owner can find and extend it."""

_EVIDENCE: Mapping[DomainState, tuple[SandboxState, DesiredState]] = {
    # Off stays off: whether its owner had stopped it is not known, and starting it is easy.
    DomainState.SHUT_OFF: (SandboxState.STOPPED, DesiredState.STOPPED),
    DomainState.SHUTTING_DOWN: (SandboxState.STARTING, DesiredState.STOPPED),
    DomainState.CRASHED: (SandboxState.ERROR, DesiredState.RUNNING),
}
_IDLE = frozenset({DomainState.SHUT_OFF, DomainState.CRASHED})
_RUNS = (SandboxState.STARTING, DesiredState.RUNNING)
"""Its address is not known yet, so it is on its way to RUNNING."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoration:
    """Everything one unit of work writes for a domain that gets its records back."""

    sandbox: Sandbox
    claim: Allocation
    volumes: tuple[Volume, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A marked domain and the host on which it was seen."""

    host_id: str
    domain: ObservedDomain


def restored(
    domain: ObservedDomain,
    host: HostResources,
    pool: ObservedPool | None,
    *,
    overhead: Overhead,
    now: datetime,
) -> Restoration:
    """Return the records of a marked domain seen on `host`, whose pool held `pool`.

    Raises `Invalid` when its mark cannot be read, `Conflict` when its volumes cannot be reached.
    """
    marked = _read(_mark_of(domain), domain.name)
    if marked.pool != host.pool or pool is None or not pool.active:
        raise Conflict(
            f"the volumes of {marked.sandbox_id} are in pool {marked.pool} of host {host.name}, "
            "which is not its configured pool or is not active",
            remedy=f"set the host's pool to {marked.pool} and see that it is active",
            details={"pool": marked.pool, "configured_pool": host.pool},
        )
    return Restoration(
        sandbox=_sandbox(marked, domain, host, now),
        claim=_claim(marked, host, overhead, now),
        volumes=_volumes(marked, host, pool.volumes, now),
    )


def doomed(restoration: Restoration) -> Restoration:
    """Return the records of a domain that gets them only to be destroyed by them (I4)."""
    sandbox = replace(
        restoration.sandbox, desired_state=DesiredState.DESTROYED, reason_code=Ending.REAPED
    )
    return replace(restoration, sandbox=sandbox)


def found_elsewhere(
    before: Sandbox, back: Restoration, host: HostResources, now: datetime
) -> Sandbox:
    """Return the record of a sandbox that turned out to be on another host than it says.

    A database from before it moved knows neither its host nor what its disk stands on, which its
    domain tells; all else is its own, its lease too.
    """
    found = back.sandbox
    return replace(
        rehosted(unwished(before), host, now),
        state=found.state,
        desired_state=found.desired_state,
        base_image=found.base_image,
        image_digest=found.image_digest,
        base_fingerprint=found.base_fingerprint,
        network=found.network,
        ssh_ca=found.ssh_ca,
        phase=None,
        phase_at=None,
        failed_hosts=(),
        queued_at=now,
        moved_at=now,
        reason_code=found.reason_code,
        reason_message=f"{found.reason_message}; it is no longer on {before.host_name}",
    )


def left_behind(domain: ObservedDomain, host: HostResources, now: datetime) -> tuple[Volume, ...]:
    """Return the volumes of a destroyed sandbox whose domain is there again, as its mark says.

    Raises `Invalid` when the mark cannot be read.
    """
    marked = _read(_mark_of(domain), domain.name)
    return _volumes(marked, host, (), now)


def rightful(found: Iterable[Found]) -> tuple[Mapping[str, Found], Mapping[str, Sequence[Found]]]:
    """Return the one domain of each sandbox, and those of which several could be the one.

    Among several, the only one that is active is it: the others are left behind by a move.
    """
    copies: dict[str, list[Found]] = {}
    for one in found:
        if one.domain.mark is not None:
            copies.setdefault(one.domain.mark.sandbox_id, []).append(one)
    chosen: dict[str, Found] = {}
    doubtful: dict[str, Sequence[Found]] = {}
    for sandbox_id, those in sorted(copies.items()):
        active = [one for one in those if one.domain.state not in _IDLE]
        candidates = those if len(those) == 1 else active
        if len(candidates) == 1:
            chosen[sandbox_id] = candidates[0]
        else:
            doubtful[sandbox_id] = those
    return chosen, doubtful


def lease_after(ttl_seconds: int | None, now: datetime) -> datetime | None:
    """Return when a restored sandbox expires: a whole lease from now, and at least an hour."""
    if ttl_seconds is None:
        return None
    return now + timedelta(seconds=max(ttl_seconds, LEAST_LEASE_SECONDS))


def _mark_of(domain: ObservedDomain) -> Mark:
    if domain.mark is None:
        raise Invalid(
            f"domain {domain.name!r} carries no valid mark: it is not ours",
            remedy="look at it on its host; it is never touched from here",
        )
    return domain.mark


def _read(mark: Mark, name: str) -> MarkedSandbox:
    try:
        marked = read_mark(mark.document)
    except ValueError as error:
        raise Invalid(
            f"the mark of domain {name!r} cannot be read: {error}",
            remedy="it was written by another version of sandboxd; use that one for it",
        ) from error
    stem = marked.sandbox_id.lower()
    strange = [name for name in marked.volumes if not name.startswith(stem)]
    if strange or not marked.volumes:
        raise Invalid(
            f"the mark of domain {name!r} lists no volumes named after {stem}",
            remedy="look at the domain on its host",
        )
    return marked


def _sandbox(
    marked: MarkedSandbox, domain: ObservedDomain, host: HostResources, now: datetime
) -> Sandbox:
    state, desired = _EVIDENCE.get(domain.state, _RUNS)
    return Sandbox(
        id=marked.sandbox_id,
        job_id=marked.job_id,
        agent_id=marked.agent_id,
        sandbox_name=marked.sandbox_name,
        base_image=marked.base_image,
        image_digest=marked.image_digest,
        network=marked.network,
        isolation=marked.isolation,
        state=state,
        ttl_seconds=marked.ttl_seconds,
        vcpus=marked.vcpus,
        memory_mb=marked.memory_mb,
        storage_mb=marked.storage_mb,
        host_name=host.name,
        host_address=host.address,
        created_at=marked.created_at,
        updated_at=now,
        desired_state=desired,
        host_id=host.id,
        domain_uuid=marked.domain_uuid,
        mac=marked.mac,
        labels=marked.labels,
        auto_start=marked.auto_start,
        on_expire=marked.on_expire,
        provision_timeout_seconds=marked.provision_timeout_seconds,
        ready=marked.ready,
        ssh_ca=marked.ssh_ca,
        expires_at=lease_after(marked.ttl_seconds, now),
        reason_code="restored",
        reason_message=f"restored from the mark of its domain, which was {domain.state.value} "
        f"on {host.name}",
        base_fingerprint=marked.base_fingerprint,
        queued_at=now,
    )


def _claim(
    marked: MarkedSandbox, host: HostResources, overhead: Overhead, now: datetime
) -> Allocation:
    return Allocation(
        sandbox_id=marked.sandbox_id,
        host_id=host.id,
        pool=marked.pool,
        vcpus=marked.vcpus,
        memory_mb=marked.memory_mb + overhead.of(marked.vcpus, marked.memory_mb),
        storage_mb=marked.storage_mb * max(1, _disks(marked)),
        anti_affinity_group=marked.anti_affinity_group,
        state=AllocationState.ACTIVE,
        claimed_at=now,
    )


def _disks(marked: MarkedSandbox) -> int:
    """Return how many layers there are, each of which may grow to the size of the disk."""
    return sum(role is not VolumeRole.SEED for role in marked.volumes.values())


def _volumes(
    marked: MarkedSandbox, host: HostResources, there: Collection[ObservedVolume], now: datetime
) -> tuple[Volume, ...]:
    """List what the mark lists; a seed that the host never took is planned and never created.

    What lies on what is told by the volumes themselves.
    """
    known = {volume.name: volume for volume in there}
    return tuple(
        Volume(
            owner=marked.sandbox_id,
            host_id=host.id,
            pool=marked.pool,
            name=name,
            role=role,
            state=VolumeState.CREATED if name in known else VolumeState.PLANNED,
            created_at=now,
            backing=_below(known.get(name), marked),
        )
        for name, role in sorted(marked.volumes.items())
    )


def _below(volume: ObservedVolume | None, marked: MarkedSandbox) -> str | None:
    name = "" if volume is None else (volume.backing or "").rpartition("/")[2]
    return name if name in marked.volumes else None
