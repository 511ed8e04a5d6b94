"""Orphans: domains with our mark that nothing live stands for; adopted or reaped by an operator.

Either way a record is written first, and the loops do the rest by it: an adopted domain is looked
after like any sandbox, and a reaped one is destroyed like one, or cleared like a host it has left.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace

from scheduler.clock import Clock
from scheduler.errors import Conflict, NotFound
from scheduler.lifecycle.findings import Orphan
from scheduler.lifecycle.orphans import OrphanCode, code_of, told_of
from scheduler.lifecycle.restoration import doomed, left_behind, restored
from scheduler.lifecycle.sightings import Absent, sight
from scheduler.model import (
    AllocationState,
    DesiredState,
    HostResources,
    Inventory,
    ObservedDomain,
    Sandbox,
)
from scheduler.service.audits import AuditService
from scheduler.service.enrolment import Order, enrol, take_home
from scheduler.service.fleet import FleetView
from scheduler.service.intents import Intent
from scheduler.service.journal import Journal
from scheduler.service.lease_time import lease_time
from scheduler.service.leftovers import REAPED, condemn, tombstone
from scheduler.service.requests import AdoptOrphan, Because
from scheduler.service.sightings import Sightings
from scheduler.service.terms import Terms
from scheduler.store import Store, Transaction


class OrphanService:
    """What operators do with orphans; the wakes tell the loops of a sandbox or a host."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        terms: Terms,
        audits: AuditService,
        sightings: Sightings,
        fleet: FleetView,
        journal: Journal,
        wake_sandbox: Callable[[str], None],
        wake_host: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._terms = terms
        self._audits = audits
        self._sightings = sightings
        self._fleet = fleet
        self._journal = journal
        self._wake_sandbox = wake_sandbox
        self._wake_host = wake_host

    async def find(self, seconds: float = 0.0) -> tuple[Orphan, ...]:
        """Return every orphan, after waiting at most so long for fresh looks."""
        return (await self._audits.compare(seconds)).orphans

    async def adopt(
        self,
        host_name: str,
        uuid: str,
        request: AdoptOrphan,
        intent: Intent[Sandbox],
        *,
        seconds: float = 0.0,
    ) -> Sandbox:
        """Take a marked domain over as the sandbox that its mark says it is.

        A sandbox that is recorded on another host, and proven not to be there, is taken home: its
        record is older than its move. Raises `Conflict` when it is no orphan, may be where it is
        recorded, or exceeds its host's limits without `force`.
        """
        host, inventory, domain = await self._found(host_name, uuid, seconds)
        home = await self._home_of(domain)
        await self._sightings.refresh(home, seconds)

        def unit(tx: Transaction) -> Sandbox:
            code = _check(tx, host, domain, {OrphanCode.NO_RECORD, OrphanCode.STRAY_COPY})
            now = lease_time(tx, self._clock)
            pool, overhead = inventory.pool, self._terms.overhead
            order = Order(
                kind="sandbox.adopted",
                actor=intent.actor,
                at=now,
                reason=request.reason,
                beyond_limits=request.force,
            )
            back = restored(domain, tx.hosts.get(host.id), pool, overhead=overhead, now=now)
            if code is OrphanCode.NO_RECORD:
                return enrol(tx, back, inventory, order)
            self._check_lost(tx, host, domain)
            return take_home(tx, back, inventory, order)

        return await self._committed(await self._store.submit(intent.once(unit)), host, *home)

    async def _home_of(self, domain: ObservedDomain) -> tuple[HostResources, ...]:
        """Return the host on which the sandbox of a domain is recorded, if it is."""

        def read(tx: Transaction) -> tuple[HostResources, ...]:
            with suppress(NotFound):
                sandbox = tx.sandboxes.get(_sandbox_id(domain))
                if sandbox.live:
                    return (tx.hosts.get(sandbox.host_id or ""),)
            return ()

        return await self._store.read(read)

    def _check_lost(self, tx: Transaction, host: HostResources, domain: ObservedDomain) -> None:
        """Raise `Conflict` unless the sandbox of a copy is proven not to be where it is recorded.

        By two listings of its host since our last call for it (I6).
        """
        sandbox = tx.sandboxes.get(_sandbox_id(domain))
        seen = self._sightings.of(sandbox.host_id or "")
        if sandbox.desired_state is DesiredState.DESTROYED:
            raise _not(host, domain, f"its sandbox {sandbox.id} is being destroyed")
        at = self._sightings.mutated_at(sandbox.id)
        fresh = seen.latest is not None and seen.age_seconds <= self._sightings.stale_after_seconds
        if not fresh or not isinstance(
            sight(sandbox, seen.latest, seen.previous, mutated_at=at), Absent
        ):
            why = told_of(domain, OrphanCode.STRAY_COPY)
            raise _not(host, domain, f"{why}, {sandbox.host_name}, and may be there")

    async def reap(
        self,
        host_name: str,
        uuid: str,
        request: Because,
        intent: Intent[Sandbox],
        *,
        seconds: float = 0.0,
    ) -> Sandbox:
        """Have a marked domain without a live record destroyed, with the volumes its mark lists.

        A copy of a sandbox that lives on another host goes too, and the sandbox lives on. Raises
        `Conflict` when the domain is not ours, or is where its sandbox is recorded.
        """
        host, inventory, domain = await self._found(host_name, uuid, seconds)
        reaps = {
            OrphanCode.NO_RECORD: self._reap,
            OrphanCode.TOMBSTONED: self._reap_remains,
            OrphanCode.STRAY_COPY: self._reap_copy,
        }

        def unit(tx: Transaction) -> Sandbox:
            reap = reaps[_check(tx, host, domain, reaps.keys())]
            return reap(tx, host, inventory, domain, request=request, actor=intent.actor)

        return await self._committed(await self._store.submit(intent.once(unit)), host)

    def _reap(
        self,
        tx: Transaction,
        host: HostResources,
        inventory: Inventory,
        domain: ObservedDomain,
        *,
        request: Because,
        actor: str,
    ) -> Sandbox:
        """Write the record by which the domain is then destroyed (I4)."""
        now = self._clock.now()
        pool, overhead = inventory.pool, self._terms.overhead
        back = restored(domain, tx.hosts.get(host.id), pool, overhead=overhead, now=now)
        # What it holds it holds already: nothing is promised to anybody by writing it down.
        order = Order(
            kind="sandbox.reaped", actor=actor, at=now, reason=request.reason, beyond_limits=True
        )
        return enrol(tx, doomed(back), inventory, order)

    def _reap_copy(
        self,
        tx: Transaction,
        host: HostResources,
        inventory: Inventory,
        domain: ObservedDomain,
        *,
        request: Because,
        actor: str,
    ) -> Sandbox:
        """Give the copy a claim that is given back once nothing is left of it here."""
        now = self._clock.now()
        pool, overhead = inventory.pool, self._terms.overhead
        copy = restored(domain, tx.hosts.get(host.id), pool, overhead=overhead, now=now)
        claim = replace(copy.claim, state=AllocationState.RELEASING, anti_affinity_group=None)
        tx.allocations.record(claim, beyond_limits=True)
        sandbox = tx.sandboxes.get(claim.sandbox_id)
        condemn(
            tx,
            sandbox,
            host,
            copy.volumes,
            at=now,
            reason_code=REAPED,
            actor=actor,
            why=request.reason,
        )
        return sandbox

    def _reap_remains(
        self,
        tx: Transaction,
        host: HostResources,
        inventory: Inventory,
        domain: ObservedDomain,
        *,
        request: Because,
        actor: str,
    ) -> Sandbox:
        """Have what a destroyed sandbox left removed at once; its tombstone stays as it is."""
        now = self._clock.now()
        sandbox = tx.sandboxes.get(_sandbox_id(domain))
        condemn(
            tx,
            sandbox,
            host,
            left_behind(domain, tx.hosts.get(host.id), now),
            at=now,
            reason_code=REAPED,
            actor=actor,
            why=request.reason,
        )
        return sandbox

    async def _found(
        self, host_name: str, uuid: str, seconds: float
    ) -> tuple[HostResources, Inventory, ObservedDomain]:
        host = await self._store.read(lambda tx: tx.hosts.by_name(host_name))
        await self._sightings.refresh((host,), seconds)
        return host, *self._sightings.domain(host, uuid)

    async def _committed(self, sandbox: Sandbox, *hosts: HostResources) -> Sandbox:
        for host in hosts:
            await self._fleet.reread(host.id)
        self._journal.poke()
        self._wake_sandbox(sandbox.id)
        for host in hosts:
            self._wake_host(host.id)
        return sandbox


def _check(
    tx: Transaction, host: HostResources, domain: ObservedDomain, wanted: Collection[OrphanCode]
) -> OrphanCode:
    """Return why the domain is an orphan now; raises `Conflict` unless that is as wanted."""
    sandbox_id = _sandbox_id(domain)
    allocations = tx.allocations.of_sandbox(sandbox_id)
    buried = tombstone(tx, sandbox_id)
    live = {sandbox_id: {one.host_id for one in allocations}} if allocations else {}
    tombstones = {} if buried is None else {sandbox_id: buried.deleted_at or buried.updated_at}
    code = code_of(domain, host.id, live, tombstones)
    if code is not None and code in wanted:
        return code
    if code is not None:
        raise _not(host, domain, told_of(domain, code))
    if domain.mark is None:
        raise _not(host, domain, "it carries no mark of ours, so it is never touched")
    raise _not(host, domain, f"it is sandbox {sandbox_id}, which is recorded here")


def _sandbox_id(domain: ObservedDomain) -> str:
    return "" if domain.mark is None else domain.mark.sandbox_id


def _not(host: HostResources, domain: ObservedDomain, why: str) -> Conflict:
    return Conflict(
        f"that cannot be done with domain {domain.uuid} on {host.name}: {why}",
        remedy="see what can: sandboxctl orphan list",
    )
