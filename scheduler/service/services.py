"""Every service, handed as one value to whoever serves requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypedDict

from scheduler.clock import Clock
from scheduler.service.audits import AuditService
from scheduler.service.catalogue import Catalogue, Shelf
from scheduler.service.doctor import DoctorService, LookAtNode
from scheduler.service.drains import DrainService
from scheduler.service.events import EventService
from scheduler.service.fleet import FleetView
from scheduler.service.forgetting import ForgetService
from scheduler.service.hosts import HostService
from scheduler.service.idempotency import KeptAnswers
from scheduler.service.images import ImageService
from scheduler.service.journal import Journal
from scheduler.service.orphans import OrphanService
from scheduler.service.placements import PlacementService
from scheduler.service.playbooks import PlaybookService
from scheduler.service.readiness import ReadinessService
from scheduler.service.rebuilds import RebuildService
from scheduler.service.sandboxes import SandboxService
from scheduler.service.sightings import Listings, Sightings, Unseen
from scheduler.service.source_vms import SourceVMService
from scheduler.service.terms import Terms
from scheduler.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Wakes:
    """How loops are told that there is something to do; each takes the id concerned."""

    sandbox: Callable[[str], None]
    host: Callable[[str], None]
    drain: Callable[[str], None]
    """Takes the host's id."""
    image: Callable[[str], None] = lambda _key: None
    """Takes an image's id, or `image/host` for a replica."""
    playbooks: Callable[[], None] = lambda: None


class _Shared(TypedDict):
    """What every service that changes something is given."""

    fleet: FleetView
    journal: Journal


class _Seeing(_Shared):
    """What services that read the hosts' listings are given beside that."""

    terms: Terms
    audits: AuditService
    sightings: Sightings


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The use cases, a member per noun."""

    sandboxes: SandboxService
    hosts: HostService
    drains: DrainService
    placements: PlacementService
    events: EventService
    readiness: ReadinessService
    kept_answers: KeptAnswers
    audits: AuditService
    orphans: OrphanService
    rebuilds: RebuildService
    forgetting: ForgetService
    doctor: DoctorService
    images: ImageService
    playbooks: PlaybookService
    source_vms: SourceVMService

    @classmethod
    def over(
        cls,
        store: Store,
        clock: Clock,
        *,
        terms: Terms,
        fleet: FleetView,
        journal: Journal,
        wakes: Wakes,
        listings: Listings | None = None,
        node: LookAtNode | None = None,
        shelf: Shelf | None = None,
    ) -> Self:
        """Return all services over one store, sharing the fleet in memory and the journal.

        `listings` is what the loops see of the hosts, `node` looks at the control node, `shelf`
        keeps images: without them nothing was ever seen, is not judged, and there are none.
        """
        sightings = _sightings(listings, clock, wakes, terms)
        shared: _Shared = {"fleet": fleet, "journal": journal}
        known = Catalogue(store) if shelf is None else shelf.catalogue
        audits = AuditService(store, clock, sightings=sightings, wake=wakes.host, **shared)
        seeing: _Seeing = {**shared, "terms": terms, "audits": audits, "sightings": sightings}
        return cls(
            sandboxes=SandboxService(
                store, clock, terms=terms, catalogue=known, wake=wakes.sandbox, **shared
            ),
            hosts=HostService(store, clock, wake=wakes.host, **shared),
            drains=DrainService(store, clock, wake=wakes.drain, **shared),
            placements=PlacementService(store, terms=terms, catalogue=known, fleet=fleet),
            events=EventService(store, clock, journal),
            readiness=ReadinessService(store),
            kept_answers=KeptAnswers(store, clock),
            audits=audits,
            orphans=OrphanService(
                store, clock, wake_sandbox=wakes.sandbox, wake_host=wakes.host, **seeing
            ),
            rebuilds=RebuildService(store, clock, wake=wakes.sandbox, **seeing),
            forgetting=ForgetService(
                store, clock, wake_sandbox=wakes.sandbox, wake_drain=wakes.drain, **shared
            ),
            doctor=DoctorService(store, clock, sightings=sightings, node=node),
            images=ImageService(store, clock, terms, shelf, journal=journal, wake=wakes.image),
            playbooks=PlaybookService(store, clock, journal=journal, wake=wakes.playbooks),
            source_vms=SourceVMService(store, sightings=sightings),
        )


def _sightings(listings: Listings | None, clock: Clock, wakes: Wakes, terms: Terms) -> Sightings:
    return Sightings(
        Unseen() if listings is None else listings,
        clock,
        wake=wakes.host,
        stale_after_seconds=terms.stale_after_seconds,
    )
