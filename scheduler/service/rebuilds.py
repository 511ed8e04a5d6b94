"""Rebuilding: every marked domain without a record gets its record back, on all hosts at once.

Each sandbox is one unit of work, so a rebuild that was cut short is simply done again: what is
recorded by then is no orphan any more. Nothing on a host is touched, and nothing is ever removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial

from scheduler.clock import Clock
from scheduler.errors import AlreadyExists, Conflict, Invalid, NotFound, SandboxdError
from scheduler.lifecycle.findings import HostAudit, Orphan
from scheduler.lifecycle.orphans import OrphanCode
from scheduler.lifecycle.restoration import Found, restored, rightful
from scheduler.model import DomainState, Event, Sandbox
from scheduler.service.audits import AuditService
from scheduler.service.enrolment import Order, enrol
from scheduler.service.fleet import FleetView
from scheduler.service.intents import Intent
from scheduler.service.journal import Journal
from scheduler.service.lease_time import lease_time
from scheduler.service.requests import RebuildFleet
from scheduler.service.sightings import Sightings
from scheduler.service.terms import Terms
from scheduler.store import Store, Transaction

AT_ONCE = 32
"""So many sandboxes are written side by side; the writer commits them together."""


class Outcome(StrEnum):
    """What became, or would become, of one sandbox."""

    RESTORED = "restored"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """One marked domain and what a rebuild did about it."""

    outcome: Outcome
    sandbox_id: str
    domain_uuid: str
    domain_name: str
    domain_state: DomainState
    host_id: str
    host_name: str
    message: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildReport:
    """What a rebuild did, and which hosts it could not judge."""

    at: datetime
    dry_run: bool
    complete: bool
    """Nothing was blocked, and every host was seen."""
    sandboxes: tuple[Rebuilt, ...]
    hosts: tuple[HostAudit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    found: Found
    host_name: str

    def became(self, outcome: Outcome, message: str, remedy: str | None = None) -> Rebuilt:
        mark = self.found.domain.mark
        return Rebuilt(
            outcome=outcome,
            sandbox_id="" if mark is None else mark.sandbox_id,
            domain_uuid=self.found.domain.uuid,
            domain_name=self.found.domain.name,
            domain_state=self.found.domain.state,
            host_id=self.found.host_id,
            host_name=self.host_name,
            message=message,
            remedy=remedy,
        )

    def blocked(self, error: SandboxdError) -> Rebuilt:
        return self.became(Outcome.BLOCKED, error.message, error.remedy)


class RebuildService:
    """Restores records from marks; `wake` tells the converging loop of each sandbox."""

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
        wake: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._terms = terms
        self._audits = audits
        self._sightings = sightings
        self._fleet = fleet
        self._journal = journal
        self._wake = wake

    async def preview(self, request: RebuildFleet, seconds: float = 0.0) -> RebuildReport:
        """Return what `rebuild` would do now: it is done, and taken back before it is committed."""
        candidates, doubtful, hosts = await self._survey(seconds)
        order = self._order(request, actor="nobody")

        def unit(tx: Transaction) -> tuple[Rebuilt, ...]:
            raise _TakenBack(tuple(self._tried(tx, one, order) for one in candidates))

        try:
            done = await self._store.submit(unit)
        except _TakenBack as taken_back:
            done = taken_back.done
        return self._report((*done, *doubtful), hosts, dry_run=True)

    async def rebuild(
        self, request: RebuildFleet, intent: Intent[RebuildReport], *, seconds: float = 0.0
    ) -> RebuildReport:
        """Give every marked domain without a record its record back.

        `Repeated` before anything is done.
        """
        await self._store.read(intent.unused)
        candidates, doubtful, hosts = await self._survey(seconds)
        order = self._order(request, actor=intent.actor)
        done: list[Rebuilt] = []
        for first in range(0, len(candidates), AT_ONCE):
            some = candidates[first : first + AT_ONCE]
            units = (self._store.submit(partial(self._tried, one=one, order=order)) for one in some)
            done += await asyncio.gather(*units)
        for host_id in sorted({one.host_id for one in done}):
            await self._fleet.reread(host_id)
        self._journal.poke()
        for one in done:
            if one.outcome is Outcome.RESTORED:
                self._wake(one.sandbox_id)
        report = self._report((*done, *doubtful), hosts, dry_run=False)
        return await self._store.submit(intent.once(partial(_concluded, report, intent.actor)))

    def _order(self, request: RebuildFleet, *, actor: str) -> Order:
        return Order(
            kind="sandbox.rebuilt",
            actor=actor,
            at=self._clock.now(),
            reason=request.reason,
            beyond_limits=request.force,
        )

    async def _survey(
        self, seconds: float
    ) -> tuple[Sequence[_Candidate], Sequence[Rebuilt], tuple[HostAudit, ...]]:
        """Return the domains to restore, oldest sandbox first, and those nobody can choose from."""
        comparison = await self._audits.compare(seconds)
        orphans = [one for one in comparison.orphans if one.code is OrphanCode.NO_RECORD]
        names = {one.host_id: one.host_name for one in orphans}
        chosen, doubtful = rightful(filter(None, map(self._found, orphans)))
        candidates = [
            _Candidate(found=found, host_name=names[found.host_id])
            for _, found in sorted(chosen.items())
        ]
        blocked = [
            _Candidate(found=copy, host_name=names[copy.host_id]).became(
                Outcome.BLOCKED,
                f"{len(copies)} hosts have a domain of {sandbox_id}, and nothing tells which is it",
                "adopt the right one: sandboxctl orphan adopt",
            )
            for sandbox_id, copies in doubtful.items()
            for copy in copies
        ]
        return candidates, blocked, comparison.hosts

    def _found(self, orphan: Orphan) -> Found | None:
        seen = self._sightings.of(orphan.host_id).latest
        domain = None if seen is None else seen.domain(orphan.domain_uuid)
        return None if domain is None else Found(host_id=orphan.host_id, domain=domain)

    def _tried(self, tx: Transaction, one: _Candidate, order: Order) -> Rebuilt:
        """Restore one sandbox, or say what is in its way."""
        try:
            sandbox = self._restore(tx, one, order)
        except (AlreadyExists, Conflict, Invalid, NotFound) as error:
            return one.blocked(error)
        return one.became(Outcome.RESTORED, sandbox.reason_message or "")

    def _restore(self, tx: Transaction, one: _Candidate, order: Order) -> Sandbox:
        host = tx.hosts.get(one.found.host_id)
        seen = self._sightings.of(host.id).latest
        if seen is None:
            raise Conflict(
                f"host {host.name} has not answered since", remedy="rebuild again when it is back"
            )
        now = lease_time(tx, self._clock)
        back = restored(one.found.domain, host, seen.pool, overhead=self._terms.overhead, now=now)
        return enrol(tx, back, seen, order)

    def _report(
        self, done: Sequence[Rebuilt], hosts: tuple[HostAudit, ...], *, dry_run: bool
    ) -> RebuildReport:
        return RebuildReport(
            at=self._clock.now(),
            dry_run=dry_run,
            complete=all(host.audited for host in hosts)
            and all(one.outcome is Outcome.RESTORED for one in done),
            sandboxes=tuple(done),
            hosts=hosts,
        )


class _TakenBack(Exception):
    """Ends a unit of work without a trace, and carries out what it would have done."""

    def __init__(self, done: tuple[Rebuilt, ...]) -> None:
        super().__init__("taken back")
        self.done = done


def _concluded(report: RebuildReport, actor: str, tx: Transaction) -> RebuildReport:
    restored_now = sum(1 for one in report.sandboxes if one.outcome is Outcome.RESTORED)
    tx.events.add(
        Event(
            at=report.at,
            kind="fleet.rebuilt",
            actor=actor,
            reason_code="complete" if report.complete else "incomplete",
            message=f"{restored_now} sandboxes restored from the marks on their hosts, "
            f"{len(report.sandboxes) - restored_now} blocked",
            evidence={"hosts_not_seen": [h.host_name for h in report.hosts if not h.audited]},
        )
    )
    return report
