"""Every service, handed as one value to whoever serves requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from scheduler.clock import Clock
from scheduler.service.drains import DrainService
from scheduler.service.events import EventService
from scheduler.service.fleet import FleetView
from scheduler.service.hosts import HostService
from scheduler.service.idempotency import KeptAnswers
from scheduler.service.journal import Journal
from scheduler.service.placements import PlacementService
from scheduler.service.sandboxes import SandboxService
from scheduler.service.terms import Terms
from scheduler.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Wakes:
    """How loops are told that there is something to do; each takes the id concerned."""

    sandbox: Callable[[str], None]
    host: Callable[[str], None]
    drain: Callable[[str], None]
    """Takes the host's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The use cases, a member per noun."""

    sandboxes: SandboxService
    hosts: HostService
    drains: DrainService
    placements: PlacementService
    events: EventService
    kept_answers: KeptAnswers

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
    ) -> Self:
        """Return all services over one store, sharing the fleet in memory and the journal."""
        return cls(
            sandboxes=SandboxService(
                store, clock, terms=terms, fleet=fleet, journal=journal, wake=wakes.sandbox
            ),
            hosts=HostService(store, clock, fleet=fleet, journal=journal, wake=wakes.host),
            drains=DrainService(store, clock, fleet=fleet, journal=journal, wake=wakes.drain),
            placements=PlacementService(store, terms=terms, fleet=fleet),
            events=EventService(store, clock, journal),
            kept_answers=KeptAnswers(store, clock),
        )
