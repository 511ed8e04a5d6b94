"""Records against listings: what does not add up, told and never repaired here.

It judges by the same sightings as reconciliation, so whatever is merely on its way is no finding. A
host that cannot be judged is named with the reason: silence is not a clean bill of health.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace

from scheduler.lifecycle.books import Books, Whereabouts, Witnesses
from scheduler.lifecycle.findings import Comparison, Finding, FindingCode, HostAudit, Orphan
from scheduler.lifecycle.orphans import (
    OrphanCode,
    OrphanKind,
    code_of,
    owner_named,
    told_of,
    unlisted_volumes,
)
from scheduler.lifecycle.sightings import Absent, Doubt, Present, Unknown, sight
from scheduler.lifecycle.usage import unmanaged
from scheduler.model import (
    DesiredState,
    HostResources,
    Inventory,
    ObservedDomain,
    Phase,
    Resources,
    Sandbox,
    Volume,
    VolumeRole,
    VolumeState,
)

MutatedAt = Callable[[str], float | None]
"""Tells when our last host call for a sandbox ended; see `sightings.sight`."""


def compare(
    books: Books,
    witnesses: Mapping[str, Witnesses],
    *,
    mutated_at: MutatedAt,
    stale_after_seconds: float,
) -> Comparison:
    """Return everything that does not add up, host by host."""
    where = books.whereabouts()
    findings = [*_unaccounted(books, where.homes), *_overcommitted(books.hosts)]
    orphans: list[Orphan] = []
    audits: list[HostAudit] = []
    for host in books.hosts:
        seen = witnesses.get(host.id, Witnesses())
        reason = _unfit(host, seen, stale_after_seconds)
        audit = HostAudit(
            host_id=host.id,
            host_name=host.name,
            health=host.health.value,
            audited=reason is None,
            reason=reason,
        )
        if seen.latest is not None:
            view = _View(host, seen.latest, books=books, where=where, witnesses=witnesses)
            audit = view.counted(audit, seen.age_seconds)
            if reason is None:
                findings.extend(view.findings(mutated_at))
                orphans.extend(view.orphans())
        audits.append(audit)
    return Comparison(findings=tuple(findings), orphans=tuple(orphans), hosts=tuple(audits))


def _unfit(host: HostResources, seen: Witnesses, stale_after_seconds: float) -> str | None:
    if seen.latest is None:
        why = host.health_reason or "it has not been listed completely since the daemon started"
        return f"host {host.name} is {host.health}: {why}"
    if seen.age_seconds > stale_after_seconds:
        return f"its last complete listing is older than {stale_after_seconds:g} s"
    return None


def _unaccounted(books: Books, homes: Mapping[str, frozenset[str]]) -> Iterator[Finding]:
    """Check that live sandboxes and allocations stand for each other (I2)."""
    hosts = {host.id: host for host in books.hosts}
    for sandbox in books.sandboxes.values():
        if sandbox.host_id is not None and sandbox.host_id not in homes[sandbox.id]:
            yield _unclaimed(sandbox, sandbox.host_id, hosts.get(sandbox.host_id))
    for allocation in books.allocations:
        if allocation.sandbox_id not in homes:
            host = hosts[allocation.host_id]
            yield Finding(
                code=FindingCode.ALLOCATION_UNOWNED,
                host_id=host.id,
                host_name=host.name,
                sandbox_id=allocation.sandbox_id,
                message=f"an allocation on {host.name} is for {allocation.sandbox_id}, "
                "which is no live sandbox",
                remedy="please report it: no path of this program leads here",
            )


def _unclaimed(sandbox: Sandbox, host_id: str, host: HostResources | None) -> Finding:
    name, remedy = sandbox.host_name or host_id, f"let go of it: sandboxctl forget {sandbox.id}"
    if host is not None:
        name, remedy = host.name, "destroy it: what it uses is not accounted for"
    return Finding(
        code=FindingCode.ALLOCATION_MISSING,
        host_id=host_id,
        host_name=name,
        sandbox_id=sandbox.id,
        message=f"sandbox {sandbox.id} is on {name} without an allocation there",
        remedy=remedy,
    )


def _overcommitted(hosts: Sequence[HostResources]) -> Iterator[Finding]:
    for host in hosts:
        if not host.limit.covers(host.reserved):
            yield Finding(
                code=FindingCode.OVERCOMMITTED,
                host_id=host.id,
                host_name=host.name,
                message=f"host {host.name} has {_amounts(host.reserved)} reserved, "
                f"and its limits are {_amounts(host.limit)} now",
                remedy="nothing is evicted, nothing new is placed; drain it or raise its limits",
            )


def _amounts(amounts: Resources) -> str:
    return f"{amounts.vcpus} CPUs, {amounts.memory_mb} MiB memory, {amounts.storage_mb} MiB storage"


class _View:
    """One host's latest listing beside the books."""

    def __init__(
        self,
        host: HostResources,
        inventory: Inventory,
        *,
        books: Books,
        where: Whereabouts,
        witnesses: Mapping[str, Witnesses],
    ) -> None:
        self._host = host
        self._inventory = inventory
        self._previous = witnesses[host.id].previous
        self._books = books
        self._where = where
        self._witnesses = witnesses
        self._volumes = books.volumes.get(host.id, ())

    def counted(self, audit: HostAudit, age_seconds: float) -> HostAudit:
        """Return the audit with what was counted, and why it is not whole if it is not."""
        held = self._where.held.get(self._host.id, ())
        ours = {sandbox.domain_uuid for sandbox in held if sandbox.domain_uuid}
        domains = self._inventory.domains
        return replace(
            audit,
            reason=audit.reason or self._unseen(),
            seen_at=self._inventory.seen_at,
            age_seconds=round(age_seconds, 1),
            domains=len(domains),
            foreign_domains=sum(1 for domain in domains if domain.mark is None),
            unmanaged=unmanaged(self._inventory, ours, self._claimed()),
        )

    def findings(self, mutated_at: MutatedAt) -> Iterator[Finding]:
        """Yield what is missing here, taken by somebody else, or about to go."""
        expected = self._expected()
        for sandbox in expected.values():
            yield from self._of_domain(sandbox, mutated_at(sandbox.id))
        if self._unseen() is None:
            yield from self._missing_volumes(expected, mutated_at)
        for owner in sorted(self._condemned()):
            yield Finding(
                code=FindingCode.LEFTOVER,
                host_id=self._host.id,
                host_name=self._host.name,
                sandbox_id=owner,
                message=f"what {owner} left on {self._host.name} is being removed",
                remedy="nothing; if it stays, the daemon's log tells why",
            )

    def orphans(self) -> Iterator[Orphan]:
        """Yield what is like ours and has nothing live behind it.

        What was buried after the listing was taken may be gone since: that is no orphan yet. What
        is being removed is a finding of its own.
        """
        condemned = self._condemned()
        for domain in self._inventory.domains:
            code = code_of(domain, self._host.id, self._where.homes, self._books.tombstones)
            sandbox_id = domain.mark.sandbox_id if domain.mark is not None else None
            if code is None or sandbox_id in condemned:
                continue
            if not self._buried_since(sandbox_id):
                yield self._domain(domain, code)
        for name in unlisted_volumes(self._inventory, {v.name for v in self._volumes}):
            owner = owner_named(name)
            if not self._buried_since(owner):
                yield self._volume(name, owner)

    def _unseen(self) -> str | None:
        pool = self._inventory.pool
        if pool is None or not pool.active:
            return f"its pool {self._host.pool} is not active, so that no volume was seen"
        return None

    def _expected(self) -> Mapping[str, Sandbox]:
        """Return the sandboxes that were built here once and are meant to be here still."""
        built = {v.owner for v in self._volumes if v.state is VolumeState.CREATED}
        return {
            sandbox.id: sandbox
            for sandbox in self._where.recorded.get(self._host.id, ())
            if sandbox.id in built
            and sandbox.phase is not Phase.BUILD
            and sandbox.desired_state is not DesiredState.DESTROYED
        }

    def _condemned(self) -> Set[str]:
        """Return the sandboxes that are no more and of which volumes are listed here."""
        owners = {v.owner for v in self._volumes if v.role is not VolumeRole.IMAGE}
        # Not `owners - sandboxes.keys()`, which walks through all sandboxes, for each host.
        return {owner for owner in owners if owner not in self._books.sandboxes}

    def _claimed(self) -> Set[str]:
        """Return the volumes that allocations stand for: none for images nor what is condemned."""
        uncharged = (VolumeRole.IMAGE, VolumeRole.DISK)
        held = (v for v in self._volumes if self._holds(v.owner))
        return {v.name for v in held if v.role not in uncharged}

    def _holds(self, sandbox_id: str) -> bool:
        return self._host.id in self._where.homes.get(sandbox_id, ())

    def _buried_since(self, sandbox_id: str | None) -> bool:
        buried_at = self._books.tombstones.get(sandbox_id or "")
        return buried_at is not None and buried_at >= self._inventory.seen_at

    def _of_domain(self, sandbox: Sandbox, mutated_at: float | None) -> Iterator[Finding]:
        seen = sight(sandbox, self._inventory, self._previous, mutated_at=mutated_at)
        if isinstance(seen, Absent):
            yield self._finding(
                FindingCode.DOMAIN_MISSING,
                sandbox,
                f"the domain of sandbox {sandbox.id} is not on {self._host.name}",
                remedy=self._remedy_of_missing(sandbox),
            )
        elif isinstance(seen, Unknown) and seen.doubt is Doubt.FOREIGN_DOMAIN:
            yield self._finding(
                FindingCode.FOREIGN_DOMAIN,
                sandbox,
                seen.reason,
                remedy="somebody replaced the domain; look at it on its host: it is never touched",
            )
        elif isinstance(seen, Present) and seen.domain.name != sandbox.sandbox_name:
            yield self._finding(
                FindingCode.DOMAIN_RENAMED,
                sandbox,
                f"the domain of sandbox {sandbox.id} is named {seen.domain.name!r} on its host, "
                f"not {sandbox.sandbox_name!r}",
                remedy="harmless, as domains are found by their UUID; rename it back if you like",
            )

    def _remedy_of_missing(self, sandbox: Sandbox) -> str:
        """Return what to do about a domain that is missing; another host may well have it."""
        for host in self._books.hosts:
            if host.id in self._where.homes[sandbox.id]:
                continue
            seen = self._witnesses.get(host.id, Witnesses()).latest
            domain = None if seen is None else seen.domain(sandbox.domain_uuid or "")
            if domain is not None and _is_of(domain, sandbox.id):
                return (
                    f"it is on {host.name}: sandboxctl orphan adopt {host.name} {domain.uuid}; "
                    "deleting the sandbox would have that destroyed"
                )
        return "bring it back on its host, or delete the sandbox"

    def _is_lost(self, sandbox_id: str | None) -> bool:
        """Return whether the host on which a live sandbox is recorded was seen without it."""
        sandbox = self._books.sandboxes[sandbox_id or ""]
        home = self._witnesses.get(sandbox.host_id or "", Witnesses()).latest
        return home is not None and home.domain(sandbox.domain_uuid or "") is None

    def _missing_volumes(
        self, expected: Mapping[str, Sandbox], mutated_at: MutatedAt
    ) -> Iterator[Finding]:
        """Tell of created volumes that two listings since our last call lack (I6)."""
        if self._previous is None:
            return
        seen = {*_volume_names(self._inventory), *_volume_names(self._previous)}
        for volume in self._volumes:
            if volume.role is VolumeRole.IMAGE:
                yield from self._missing_replica(volume, seen)
                continue
            sandbox = expected.get(volume.owner)
            if sandbox is None or volume.state is not VolumeState.CREATED or volume.name in seen:
                continue
            changed_at = mutated_at(sandbox.id)
            if changed_at is None or changed_at < self._previous.begun_at:
                yield self._finding(
                    FindingCode.VOLUME_MISSING,
                    sandbox,
                    f"volume {volume.name} of sandbox {sandbox.id} is not in pool {volume.pool} "
                    f"of {self._host.name}",
                    remedy="bring the file back, or delete the sandbox: it cannot start again",
                    subject=volume.name,
                )

    def _missing_replica(self, volume: Volume, seen: Set[str]) -> Iterator[Finding]:
        if volume.state is VolumeState.CREATED and volume.name not in seen:
            yield Finding(
                code=FindingCode.VOLUME_MISSING,
                host_id=self._host.id,
                host_name=self._host.name,
                subject=volume.name,
                message=f"replica {volume.name} is not in pool {volume.pool} of {self._host.name}",
                remedy="bring the file back for the sandboxes made from it; without any, have it "
                f"copied anew: sandboxctl image evict {volume.owner} {self._host.name}",
            )

    def _finding(
        self,
        code: FindingCode,
        sandbox: Sandbox,
        message: str,
        *,
        remedy: str,
        subject: str | None = None,
    ) -> Finding:
        return Finding(
            code=code,
            host_id=self._host.id,
            host_name=self._host.name,
            sandbox_id=sandbox.id,
            subject=subject or sandbox.domain_uuid,
            message=message,
            remedy=remedy,
        )

    def _domain(self, domain: ObservedDomain, code: OrphanCode) -> Orphan:
        sandbox_id = None if domain.mark is None else domain.mark.sandbox_id
        lost = code is OrphanCode.STRAY_COPY and self._is_lost(sandbox_id)
        return Orphan(
            code=code,
            kind=OrphanKind.DOMAIN,
            host_id=self._host.id,
            host_name=self._host.name,
            name=domain.name,
            message=told_of(domain, code),
            remedy=_LOST if lost else _REMEDIES[code],
            domain_uuid=domain.uuid,
            domain_state=domain.state,
            sandbox_id=sandbox_id,
            verbs=("adopt", *_VERBS[code]) if lost else _VERBS.get(code, ()),
            healable=code is OrphanCode.TOMBSTONED,
        )

    def _volume(self, name: str, owner: str | None) -> Orphan:
        known = owner in self._books.tombstones or owner in self._books.sandboxes
        whose = f"; it may have been of {owner}" if known else ""
        return Orphan(
            code=OrphanCode.UNLISTED_VOLUME,
            kind=OrphanKind.VOLUME,
            host_id=self._host.id,
            host_name=self._host.name,
            name=name,
            message=f"volume {name!r} is named like ours, but no record lists it{whose}",
            remedy=_REMEDIES[OrphanCode.UNLISTED_VOLUME],
            sandbox_id=owner if known else None,
        )


def _is_of(domain: ObservedDomain, sandbox_id: str) -> bool:
    return domain.mark is not None and domain.mark.sandbox_id == sandbox_id


def _volume_names(inventory: Inventory) -> Iterator[str]:
    pool = inventory.pool
    yield from (volume.name for volume in (() if pool is None else pool.volumes))


_VERBS: Mapping[OrphanCode, tuple[str, ...]] = {
    OrphanCode.NO_RECORD: ("adopt", "reap"),
    OrphanCode.TOMBSTONED: ("reap",),
    OrphanCode.STRAY_COPY: ("reap",),
}
_LOST = (
    "adopt it: its sandbox is not where it is recorded, as after a backup from before a move was "
    "restored; reap it only if nothing on its disk is needed"
)
_REMEDIES: Mapping[OrphanCode, str] = {
    OrphanCode.NO_RECORD: "adopt it to keep it, or reap it; after the loss of a database: rebuild",
    OrphanCode.TOMBSTONED: "it is destroyed by itself after a while; reap it to have that now",
    OrphanCode.STRAY_COPY: "reap it if the recorded one is right: by itself it is never touched",
    OrphanCode.FORGED_MARK: "find out who made it: it is foreign and never touched",
    OrphanCode.UNLISTED_VOLUME: "a name proves nothing, so it is never touched; when nobody needs "
    "it: virsh vol-delete",
}
