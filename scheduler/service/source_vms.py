"""Machines on the hosts that are not ours: what an operator may want to clone sandboxes from.

They are read from the loops' listings. What no complete and fresh listing shows is not there for
sure, so a host that was not looked at lately lists nothing. One is touched only after an operator
asked for its preparation, which is recorded with who it was; then it may be looked at, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from scheduler import ids
from scheduler.clock import Clock
from scheduler.errors import Conflict, Invalid, NotFound, QuotaExceeded
from scheduler.model import Event, HostResources, Inspection, ObservedDomain, SourceVM
from scheduler.service.image_reports import ImageReport
from scheduler.service.image_reports import report_of as image_report
from scheduler.service.intents import Intent
from scheduler.service.journal import Journal
from scheduler.service.requests import FreezeSource, InspectSource, PrepareSource
from scheduler.service.sightings import Sightings
from scheduler.service.source_images import add_image, image_name
from scheduler.service.source_reports import (
    PreparationPlan,
    SourceReport,
    check_prepared,
    check_running,
    plan_of,
    report_of,
)
from scheduler.service.terms import SourceTerms
from scheduler.sources.preparations import Preparation, to_json
from scheduler.sources.programs import allowed_programs, inspection_fault
from scheduler.store import ListOptions, Page, Store, Transaction


class SourceVMService:
    """What can be told of machines that are not ours, and asked of them.

    `wake` tells the loops of a source or an inspection, by its id. `authority` tells the
    fingerprint of the SSH authority that signs now, None where there is none.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        terms: SourceTerms,
        *,
        sightings: Sightings,
        journal: Journal,
        wake: Callable[[str], None],
        wake_image: Callable[[str], None],
        authority: Callable[[], str | None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._terms = terms
        self._sightings = sightings
        self._journal = journal
        self._wake = wake
        self._wake_image = wake_image
        self._authority = authority

    async def find(self, *, host: str | None, after: str | None, limit: int) -> Page[SourceReport]:
        """Return a page of them by host and name, those behind `after`, a cursor of a page."""
        behind = None if after is None else tuple(after.partition("/")[::2])

        def unit(tx: Transaction) -> Page[SourceReport]:
            known = {(one.host_name, one.name): one for one in tx.source_vms.all()}
            found: list[SourceReport] = []
            for one in _hosts(tx, host):
                for domain in self._on(one):
                    if behind is None or (one.name, domain.name) > behind:
                        found.append(self._report(one, domain, known.get((one.name, domain.name))))
                        if len(found) > limit:
                            return Page(items=tuple(found[:-1]), next_cursor=_cursor(found[-2]))
            return Page(items=tuple(found), next_cursor=None)

        return await self._store.read(unit)

    async def get(self, host: str, name: str) -> SourceReport:
        """Return one by host and name; `Conflict` when nobody can tell now what is there."""
        return await self._store.read(lambda tx: self._one(tx, host, name))

    async def wait(self, host: str, name: str, seconds: float) -> SourceReport:
        """Return one once its preparation is over, or when `seconds` are."""
        return await self._journal.until(
            lambda: self.get(host, name),
            lambda found: found.preparation is None or not found.preparation.running,
            seconds,
        )

    async def plan(self, host: str, name: str, request: PrepareSource) -> PreparationPlan:
        """Return what preparing one would do, and do nothing."""
        report = await self.get(host, name)
        return plan_of(report, request.user or self._terms.ssh_user, has_key=self._terms.has_key)

    async def prepare(
        self, host: str, name: str, request: PrepareSource, intent: Intent[SourceReport]
    ) -> SourceReport:
        """Record that an operator agrees to have a machine prepared; a loop carries it out.

        One that is being prepared is answered as it is. `Conflict` unless it runs.
        """
        unit = partial(self._agree, host, name, request, intent.actor)
        report = await self._store.submit(intent.once(unit))
        self._committed(report.id or "")
        return report

    async def inspect(
        self, host: str, name: str, request: InspectSource, intent: Intent[Inspection]
    ) -> Inspection:
        """Record a look at a prepared source VM; a loop takes it.

        Raises `Invalid` for a command that might do more than look, `Conflict` for a machine that
        is not prepared or not running, `QuotaExceeded` where too many looks wait already.
        """
        fault = inspection_fault(request.argv)
        if fault is not None:
            raise Invalid(
                f"this is no command that only looks: {fault}",
                remedy=f"what may be run, without a shell: {allowed_programs()}; "
                "docs/source-vms.md tells with which words",
                details={"argv": fault},
            )
        unit = partial(self._ask, host, name, request, intent.actor)
        inspection = await self._store.submit(intent.once(unit))
        self._committed(inspection.id)
        return inspection

    async def inspection(self, inspection_id: str, seconds: float = 0.0) -> Inspection:
        """Return a look with what it found, once it has ended or when `seconds` are over."""
        return await self._journal.until(
            lambda: self._store.read(lambda tx: tx.inspections.get(inspection_id)),
            lambda found: not found.waiting,
            seconds,
        )

    async def freeze(
        self, host: str, name: str, request: FreezeSource, intent: Intent[ImageReport]
    ) -> ImageReport:
        """Record that an image is made of a prepared source VM; a loop copies its disk on its host.

        Raises `Conflict` for one that is not prepared, `AlreadyExists` for a name in use.
        """
        unit = partial(self._freeze, host, name, request, intent.actor)
        image = await self._store.submit(intent.once(unit))
        self._journal.poke()
        self._wake_image(image.id)
        return image

    async def inspections(self, host: str, name: str, options: ListOptions) -> Page[Inspection]:
        """Return a page of the looks at a source VM, newest first; also when it is gone."""

        def unit(tx: Transaction) -> Page[Inspection]:
            return tx.inspections.find(tx.source_vms.by_name(name, host).id, options)

        return await self._store.read(unit)

    def _agree(
        self, host: str, name: str, request: PrepareSource, actor: str, tx: Transaction
    ) -> SourceReport:
        now, report = self._clock.now(), self._one(tx, host, name)
        if report.preparation is not None and report.preparation.running:
            return report
        check_running(report)
        there = tx.hosts.by_name(host)
        source = _known(tx, host, name) or tx.source_vms.upsert(
            SourceVM(
                id=ids.new_id(ids.Prefix.SOURCE_VM),
                name=name,
                host_name=host,
                created_at=now,
                updated_at=now,
            )
        )
        wanted = Preparation(
            actor=actor,
            asked_at=now,
            user=request.user or self._terms.ssh_user,
            address=request.address,
            host_key=request.host_key,
        )
        another = source.domain_uuid not in (None, report.uuid)
        agreed = tx.source_vms.replace(
            replace(
                source,
                host_address=there.address,
                domain_uuid=report.uuid,
                host_key=None if another else source.host_key,
                prepared=source.prepared and not another,
                prepare_json=to_json(wanted),
                updated_at=now,
            )
        )
        message = f"{actor} agreed that {host}/{name} is prepared, as {wanted.user}"
        tx.events.add(
            Event(
                at=now,
                kind="source.prepare_requested",
                actor=actor,
                host_id=there.id,
                reason_code="requested",
                message=message,
                evidence={"source_id": agreed.id, "name": name, "domain_uuid": report.uuid},
            )
        )
        return self._one(tx, host, name)

    def _ask(
        self, host: str, name: str, request: InspectSource, actor: str, tx: Transaction
    ) -> Inspection:
        report = self._one(tx, host, name)
        check_prepared(report)
        check_running(report)
        self._check_room(tx, report)
        seconds = request.timeout_seconds or self._terms.inspection_seconds
        if seconds > self._terms.max_inspection_seconds:
            raise Invalid(
                f"timeout_seconds: a look may take at most {self._terms.max_inspection_seconds} s",
                remedy="ask for less, or have sources.max_inspection_seconds raised",
                details={"timeout_seconds": f"more than {self._terms.max_inspection_seconds}"},
            )
        inspection = Inspection(
            id=ids.new_id(ids.Prefix.INSPECTION),
            source_id=report.id or "",
            host_name=host,
            name=name,
            argv=tuple(request.argv),
            timeout_seconds=seconds,
            actor=actor,
            asked_at=self._clock.now(),
        )
        tx.events.add(
            Event(
                at=inspection.asked_at,
                kind="source.inspection_requested",
                actor=actor,
                host_id=tx.hosts.by_name(host).id,
                reason_code="requested",
                message=f"a look at {host}/{name}",
                evidence={"inspection_id": inspection.id, "source_id": inspection.source_id},
            )
        )
        return tx.inspections.add(inspection)

    def _freeze(
        self, host: str, name: str, request: FreezeSource, actor: str, tx: Transaction
    ) -> ImageReport:
        now, report = self._clock.now(), self._one(tx, host, name)
        check_prepared(report)
        called = request.name or image_name(name, now)
        host_id = tx.hosts.by_name(host).id
        image = add_image(tx, report, host_id, called, actor=actor, now=now)
        return image_report(tx, image, 0)

    def _check_room(self, tx: Transaction, report: SourceReport) -> None:
        waiting = tx.inspections.waiting()
        of_source = sum(one.source_id == report.id for one in waiting)
        for now, most, where in (
            (of_source, self._terms.per_source, "at this machine"),
            (len(waiting), self._terms.at_once, "at all machines together"),
        ):
            if now >= most:
                raise QuotaExceeded(
                    f"{now} looks {where} have not ended, and no more than {most} may wait",
                    remedy="wait until one has ended",
                    details={"running": now, "limit": most, "retry_after": 5},
                )

    def _one(self, tx: Transaction, host: str, name: str) -> SourceReport:
        (there,) = _hosts(tx, host)
        for domain in self._on(there):
            if domain.name == name:
                return self._report(there, domain, _known(tx, host, name))
        if self._stale(there):
            raise Conflict(
                f"host {host} was not listed lately, so nobody can tell what is on it",
                remedy=f"see what keeps it: sandboxctl host show {host}",
                details={"health": there.health.value, "health_reason": there.health_reason},
            )
        raise NotFound(
            f"host {host} has no machine of this name that is not a sandbox",
            remedy=f"see those that it has: sandboxctl source list --host {host}",
        )

    def _report(
        self, host: HostResources, domain: ObservedDomain, source: SourceVM | None
    ) -> SourceReport:
        age = self._sightings.of(host.id).age_seconds
        return report_of(host, domain, age, source, self._authority())

    def _on(self, host: HostResources) -> Iterator[ObservedDomain]:
        """Yield a host's, by name."""
        seen = self._sightings.of(host.id)
        if seen.latest is None or self._stale(host):
            return
        for domain in sorted(seen.latest.domains, key=lambda domain: domain.name):
            if domain.mark is None and not domain.forged:
                yield domain

    def _stale(self, host: HostResources) -> bool:
        seen = self._sightings.of(host.id)
        return seen.latest is None or seen.age_seconds > self._sightings.stale_after_seconds

    def _committed(self, id: str) -> None:
        self._journal.poke()
        self._wake(id)


def _known(tx: Transaction, host: str, name: str) -> SourceVM | None:
    """Return what is recorded of a machine, if anything is."""
    try:
        return tx.source_vms.by_name(name, host)
    except NotFound:
        return None


def _hosts(tx: Transaction, name: str | None) -> tuple[HostResources, ...]:
    if name is not None:
        return (tx.hosts.by_name(name),)
    return tuple(sorted(tx.hosts.all(), key=lambda host: host.name))


def _cursor(report: SourceReport) -> str:
    return f"{report.host_name}/{report.name}"
