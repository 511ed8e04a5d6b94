"""Audits: records compared with what the loops last saw; dry unless told to heal.

Healing mends what can be mended without a doubt: counters that are not the sum of their rows, and
what a destroyed sandbox left behind, within the budget. Everything else is an operator's to decide.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from scheduler.clock import Clock
from scheduler.errors import Conflict, Invalid, NotFound, Unreadable
from scheduler.lifecycle.audit import compare
from scheduler.lifecycle.books import Books, Witnesses
from scheduler.lifecycle.findings import Comparison, Finding, FindingCode, HostAudit, Orphan
from scheduler.lifecycle.orphans import Budget, owner_named
from scheduler.lifecycle.restoration import left_behind
from scheduler.model import HostResources, Volume
from scheduler.service.fleet import FleetView
from scheduler.service.intents import Intent
from scheduler.service.journal import Journal
from scheduler.service.leftovers import condemn, tombstone, with_spent
from scheduler.service.sightings import Sightings
from scheduler.store import Discrepancy, Store, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What an audit found, and how far it could see."""

    at: datetime
    clean: bool
    """Nothing was found and every host was audited whole."""
    findings: tuple[Finding, ...]
    orphans: tuple[Orphan, ...]
    hosts: tuple[HostAudit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealReport:
    """What healing did, and the audit that followed it."""

    counters: tuple[str, ...]
    """The hosts whose counters were set right."""
    condemned: tuple[Orphan, ...]
    """The remains of destroyed sandboxes that were given to the loop that removes them."""
    held: int
    """How many more wait, because the budget for such removals is used up."""
    after: AuditReport


def unheard(_report: AuditReport) -> None:
    """Tell nobody."""


class AuditService:
    """Compares, and heals when asked to; `told` hears of every audit."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        sightings: Sightings,
        fleet: FleetView,
        journal: Journal,
        wake: Callable[[str], None],
        budget: Budget | None = None,
        told: Callable[[AuditReport], None] = unheard,
    ) -> None:
        self._store = store
        self._clock = clock
        self._sightings = sightings
        self._fleet = fleet
        self._journal = journal
        self._wake = wake
        self._budget = budget or Budget()
        self._told = told

    async def audit(self, seconds: float = 0.0) -> AuditReport:
        """Compare everything, after waiting at most so long for fresh looks at the hosts."""
        comparison = await self.compare(seconds)
        miscounts = await self._store.read(lambda tx: tx.allocations.audit())
        findings = (*map(_miscount, miscounts), *comparison.findings)
        whole = all(host.audited and host.reason is None for host in comparison.hosts)
        report = AuditReport(
            at=self._clock.now(),
            clean=whole and not findings and not comparison.orphans,
            findings=findings,
            orphans=comparison.orphans,
            hosts=comparison.hosts,
        )
        self._told(report)
        return report

    async def watch(self) -> None:
        """Audit by what there is, for whoever is told: asks no host and waits for none.

        A row that cannot be read leaves what was told last; its age then tells.
        """
        with suppress(Unreadable):
            await self.audit()

    async def compare(self, seconds: float = 0.0) -> Comparison:
        """Compare records and listings only, the counters left aside."""
        hosts = await self._store.read(lambda tx: tx.hosts.all())
        await self._sightings.refresh(hosts, seconds)
        # Looked at before the records are read, which are therefore never older than the listings.
        witnesses = {host.id: self._sightings.of(host.id) for host in hosts}
        books = await self._store.read(partial(_books, witnesses))
        # Of a large fleet it takes long enough for callers to wait.
        return await asyncio.to_thread(
            compare,
            books,
            witnesses,
            mutated_at=self._sightings.mutated_at,
            stale_after_seconds=self._sightings.stale_after_seconds,
        )

    async def heal(self, seconds: float, intent: Intent[HealReport]) -> HealReport:
        """Mend what is beyond doubt, wait at most so long for it, and audit again.

        `Repeated` before anything is done.
        """
        await self._store.read(intent.unused)
        comparison = await self.compare(seconds)
        healable = [orphan for orphan in comparison.orphans if orphan.healable]
        counters, condemned = await self._store.submit(partial(self._mend, healable, intent.actor))
        for found in counters:
            await self._fleet.reread(found.host_id)
        for host_id in sorted({orphan.host_id for orphan in condemned}):
            self._wake(host_id)
        self._journal.poke()
        await self._removed(condemned, seconds)
        report = HealReport(
            counters=tuple(found.host_name for found in counters),
            condemned=condemned,
            held=len(healable) - len(condemned),
            after=await self.audit(seconds),
        )
        return await self._store.submit(intent.once(lambda _: report))

    def _mend(
        self, healable: Iterable[Orphan], actor: str, tx: Transaction
    ) -> tuple[tuple[Discrepancy, ...], tuple[Orphan, ...]]:
        counters = tx.allocations.audit(heal=True, actor=actor)
        left = with_spent(tx, self._budget).left(self._clock.now())
        condemned: list[Orphan] = []
        for orphan in healable:
            if len(condemned) < left and self._condemn(tx, orphan, actor):
                condemned.append(orphan)
        return counters, tuple(condemned)

    def _condemn(self, tx: Transaction, orphan: Orphan, actor: str) -> bool:
        """Give a leftover to the loop; nothing when its host or its tombstone is gone by now."""
        try:
            host = tx.hosts.get(orphan.host_id)
            volumes = self._left(host, orphan)
        except (NotFound, Conflict, Invalid):
            return False
        sandbox = tombstone(tx, orphan.sandbox_id or "")
        if sandbox is None:
            return False
        why = "an audit was told to heal"
        condemn(tx, sandbox, host, volumes, at=self._clock.now(), actor=actor, why=why)
        return True

    def _left(self, host: HostResources, orphan: Orphan) -> tuple[Volume, ...]:
        _, domain = self._sightings.domain(host, orphan.domain_uuid or "")
        return left_behind(domain, host, self._clock.now())

    async def _removed(self, condemned: Iterable[Orphan], seconds: float) -> None:
        """Wait until nothing is listed any more for what was condemned."""
        owners = [orphan.sandbox_id or "" for orphan in condemned]
        await self._journal.until(
            lambda: self._store.read(partial(_listed, owners)), lambda left: not left, seconds
        )


def _listed(owners: Iterable[str], tx: Transaction) -> list[str]:
    return [owner for owner in owners if tx.volumes.of_owner(owner)]


def _books(witnesses: Mapping[str, Witnesses], tx: Transaction) -> Books:
    sandboxes = {sandbox.id: sandbox for sandbox in tx.sandboxes.live()}
    volumes: dict[str, list[Volume]] = {}
    for volume in tx.volumes.all():
        volumes.setdefault(volume.host_id, []).append(volume)
    return Books(
        hosts=tx.hosts.all(),
        sandboxes=sandboxes,
        allocations=tx.allocations.all(),
        volumes=volumes,
        tombstones=_burials(tx, {*_named(witnesses.values())} - sandboxes.keys()),
    )


def _named(witnesses: Iterable[Witnesses]) -> Iterable[str]:
    """Yield the sandboxes that marks and volume names of the listings speak of."""
    for seen in witnesses:
        if seen.latest is None:
            continue
        for domain in seen.latest.domains:
            if domain.mark is not None:
                yield domain.mark.sandbox_id
        for volume in seen.latest.pool.volumes if seen.latest.pool is not None else ():
            owner = owner_named(volume.name)
            if owner is not None:
                yield owner


def _burials(tx: Transaction, sandbox_ids: Iterable[str]) -> Mapping[str, datetime]:
    buried = {}
    for sandbox_id in sandbox_ids:
        sandbox = tombstone(tx, sandbox_id)
        if sandbox is not None:
            buried[sandbox_id] = sandbox.deleted_at or sandbox.updated_at
    return buried


def _miscount(found: Discrepancy) -> Finding:
    counted, rows = found.counted, found.allocated
    return Finding(
        code=FindingCode.LEDGER_MISCOUNT,
        host_id=found.host_id,
        host_name=found.host_name,
        message=f"the counters of {found.host_name} say {found.counted_sandboxes} sandboxes, "
        f"{counted.vcpus} CPUs, {counted.memory_mb} MiB memory, {counted.storage_mb} MiB storage; "
        f"its allocations sum up to {found.allocated_sandboxes}, {rows.vcpus}, {rows.memory_mb}, "
        f"{rows.storage_mb}",
        remedy="have it healed: the allocations are the truth",
        healable=True,
    )
