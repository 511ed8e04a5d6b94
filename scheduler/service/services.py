"""Every service, handed as one value to whoever serves requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self, TypedDict

from scheduler.clock import Clock
from scheduler.guests.manifests import Manifests
from scheduler.model import Sandbox
from scheduler.publishing.change_files import ChangeFiles
from scheduler.service.audits import AuditReport, AuditService
from scheduler.service.authorities import AuthorityService
from scheduler.service.catalogue import Catalogue, Shelf
from scheduler.service.change_sets import ChangeSetService
from scheduler.service.commands import CommandService
from scheduler.service.consoles import ConsoleService
from scheduler.service.diffs import DiffService
from scheduler.service.doctor import DoctorService, LookAtNode
from scheduler.service.drains import DrainService
from scheduler.service.errands import Errands
from scheduler.service.events import EventService
from scheduler.service.fleet import FleetView
from scheduler.service.forgetting import ForgetService
from scheduler.service.hosts import HostService
from scheduler.service.idempotency import KeptAnswers
from scheduler.service.images import ImageService
from scheduler.service.journal import Journal
from scheduler.service.moves import MovableSandboxes
from scheduler.service.orphans import OrphanService
from scheduler.service.placements import PlacementService
from scheduler.service.playbook_runs import PlaybookRunService
from scheduler.service.playbooks import PlaybookService
from scheduler.service.publications import KnowsForges, PublicationService
from scheduler.service.readiness import ReadinessService
from scheduler.service.rebuilds import RebuildService
from scheduler.service.sightings import Listings, Sightings, Unseen
from scheduler.service.snapshots import SnapshotService
from scheduler.service.source_vms import SourceVMService
from scheduler.service.ssh import Guests, LoginTally, SshService, Uncounted
from scheduler.service.terminals import TerminalService
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
    change_set: Callable[[str], None] = lambda _id: None
    verification: Callable[[str], None] = lambda _id: None
    """Takes the change set's id."""
    publication: Callable[[str], None] = lambda _id: None
    command: Callable[[str], None] = lambda _id: None
    playbook_run: Callable[[str], None] = lambda _id: None
    source: Callable[[str], None] = lambda _id: None
    """Takes the id of a source VM, or of an inspection."""
    authorities: Callable[[], None] = lambda: None


class Tally(LoginTally, Protocol):
    """Who counts what services do; see `metrics`."""

    def forgotten(self, sandbox: Sandbox, /) -> None:
        """Count a sandbox whose record was closed without proof."""
        ...

    def audited(self, report: AuditReport, /) -> None:
        """Take note of what an audit found."""
        ...

    def drained(self, status: str, /) -> None:
        """Count the end of a drain, by its status."""
        ...

    def compared(self, result: str, seconds: float | None, /) -> None:
        """Count a diff by how it ended, and how long a computed one took."""
        ...


class Untold(Uncounted):
    """Counts nothing."""

    def forgotten(self, sandbox: Sandbox, /) -> None:
        """Take no note."""

    def audited(self, report: AuditReport, /) -> None:
        """Take no note."""

    def drained(self, status: str, /) -> None:
        """Take no note."""

    def compared(self, result: str, seconds: float | None, /) -> None:
        """Take no note."""


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

    sandboxes: MovableSandboxes
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
    playbook_runs: PlaybookRunService
    snapshots: SnapshotService
    diffs: DiffService
    change_sets: ChangeSetService
    publications: PublicationService
    commands: CommandService
    consoles: ConsoleService
    terminals: TerminalService
    ssh: SshService
    authorities: AuthorityService
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
        manifests: Manifests | None = None,
        change_files: ChangeFiles | None = None,
        forges: KnowsForges | None = None,
        errands: Errands | None = None,
        guests: Guests | None = None,
        authority: Callable[[], str | None] = lambda: None,
        tally: Tally | None = None,
    ) -> Self:
        """Return all services over one store, sharing the fleet in memory and the journal.

        What is not given (a shelf of images, manifests, ways to guests ...) stands for none.
        """
        sightings = _sightings(clock, listings, terms, wakes)
        shared: _Shared = {"fleet": fleet, "journal": journal}
        known = Catalogue(store) if shelf is None else shelf.catalogue
        tally = tally or Untold()
        audits = AuditService(
            store, clock, sightings=sightings, wake=wakes.host, told=tally.audited, **shared
        )
        seeing: _Seeing = {**shared, "terms": terms, "audits": audits, "sightings": sightings}
        told = _Told(store=store, clock=clock, terms=terms, journal=journal, wakes=wakes)
        return cls(
            **told.of_sandboxes(fleet, known, takes_images=shelf is not None),
            hosts=HostService(store, clock, wake=wakes.host, **shared),
            drains=told.draining(fleet, tally),
            placements=PlacementService(store, terms=terms, catalogue=known, fleet=fleet),
            events=EventService(store, clock, journal),
            readiness=ReadinessService(store),
            consoles=ConsoleService(store),
            kept_answers=KeptAnswers(store, clock),
            audits=audits,
            source_vms=told.of_sources(sightings, authority),
            doctor=DoctorService(store, clock, sightings=sightings, node=node),
            images=ImageService(store, clock, terms, shelf, journal=journal, wake=wakes.image),
            **_mending(store, clock, wakes, seeing, tally),
            **told.in_guests(guests, errands or Errands(), tally),
            **told.about_changes(manifests, change_files, forges, tally),
        )


class _Mending(TypedDict):
    orphans: OrphanService
    rebuilds: RebuildService
    forgetting: ForgetService


def _mending(store: Store, clock: Clock, wakes: Wakes, seeing: _Seeing, tally: Tally) -> _Mending:
    """Return the services for records and hosts that disagree."""
    return {
        "orphans": OrphanService(
            store, clock, wake_sandbox=wakes.sandbox, wake_host=wakes.host, **seeing
        ),
        "rebuilds": RebuildService(store, clock, wake=wakes.sandbox, **seeing),
        "forgetting": ForgetService(
            store,
            clock,
            fleet=seeing["fleet"],
            journal=seeing["journal"],
            wake_sandbox=wakes.sandbox,
            wake_drain=wakes.drain,
            ended=tally.forgotten,
        ),
    }


class _OfSandboxes(TypedDict):
    sandboxes: MovableSandboxes
    snapshots: SnapshotService


class _InGuests(TypedDict):
    commands: CommandService
    terminals: TerminalService
    ssh: SshService
    authorities: AuthorityService


class _AboutChanges(TypedDict):
    diffs: DiffService
    change_sets: ChangeSetService
    publications: PublicationService
    playbooks: PlaybookService
    playbook_runs: PlaybookRunService


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What the services need that tell of every step in the journal."""

    store: Store
    clock: Clock
    terms: Terms
    journal: Journal
    wakes: Wakes

    def of_sandboxes(
        self, fleet: FleetView, known: Catalogue, *, takes_images: bool
    ) -> _OfSandboxes:
        """Return the services for sandboxes themselves."""
        shared: _Shared = {"fleet": fleet, "journal": self.journal}
        store, clock, terms, wake = self.store, self.clock, self.terms, self.wakes.sandbox
        return {
            "sandboxes": MovableSandboxes(
                store,
                clock,
                terms=terms,
                catalogue=known,
                takes_images=takes_images,
                wake=wake,
                **shared,
            ),
            "snapshots": SnapshotService(store, clock, terms=terms, wake=wake, **shared),
        }

    def draining(self, fleet: FleetView, tally: Tally) -> DrainService:
        """Return the service that empties hosts."""
        return DrainService(
            self.store,
            self.clock,
            fleet=fleet,
            journal=self.journal,
            wake=self.wakes.drain,
            wake_sandbox=self.wakes.sandbox,
            count=tally.drained,
        )

    def of_sources(
        self, sightings: Sightings, authority: Callable[[], str | None]
    ) -> SourceVMService:
        """Return the service for machines that are not ours."""
        return SourceVMService(
            self.store,
            self.clock,
            self.terms.sources,
            sightings=sightings,
            journal=self.journal,
            wake=self.wakes.source,
            wake_image=self.wakes.image,
            authority=authority,
        )

    def in_guests(self, guests: Guests | None, errands: Errands, logins: LoginTally) -> _InGuests:
        """Return the services whose work is done in guests."""
        store, clock, terms = self.store, self.clock, self.terms
        commands = CommandService(
            store, clock, terms, errands, journal=self.journal, wake=self.wakes.command
        )
        ssh = SshService(
            store,
            clock,
            guests=guests,
            certificate_seconds=terms.ssh_certificate_seconds,
            tally=logins,
        )
        return {
            "commands": commands,
            "terminals": TerminalService(commands, errands),
            "ssh": ssh,
            "authorities": AuthorityService(
                store,
                clock,
                journal=self.journal,
                wake=self.wakes.authorities,
                end_sessions=ssh.end_signed_by,
            ),
        }

    def about_changes(
        self,
        manifests: Manifests | None,
        files: ChangeFiles | None,
        forges: KnowsForges | None,
        tally: Tally,
    ) -> _AboutChanges:
        """Return the services that make code of what changed, and publish it."""
        store, clock, journal, wakes = self.store, self.clock, self.journal, self.wakes
        return {
            "diffs": DiffService(
                store,
                clock,
                manifests,
                journal=journal,
                most_changes=self.terms.max_changes,
                count=tally.compared,
            ),
            "change_sets": ChangeSetService(
                store,
                clock,
                files=files,
                journal=journal,
                wake=wakes.change_set,
                wake_verification=wakes.verification,
            ),
            "publications": PublicationService(
                store, clock, forges=forges, journal=journal, wake=wakes.publication
            ),
            "playbook_runs": PlaybookRunService(
                store, clock, journal=journal, wake=wakes.playbook_run
            ),
            "playbooks": PlaybookService(
                store,
                clock,
                journal=journal,
                wake=wakes.playbooks,
                contents=None if manifests is None else manifests.contents,
            ),
        }


def _sightings(clock: Clock, listings: Listings | None, terms: Terms, wakes: Wakes) -> Sightings:
    return Sightings(
        Unseen() if listings is None else listings,
        clock,
        wake=wakes.host,
        stale_after_seconds=terms.stale_after_seconds,
    )
