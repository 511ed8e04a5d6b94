"""Every service, handed as one value to whoever serves requests."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.service.drains import DrainService
from scheduler.service.events import EventService
from scheduler.service.hosts import HostService
from scheduler.service.idempotency import KeptAnswers
from scheduler.service.placements import PlacementService
from scheduler.service.sandboxes import SandboxService


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The use cases, a member per noun."""

    sandboxes: SandboxService
    hosts: HostService
    drains: DrainService
    placements: PlacementService
    events: EventService
    kept_answers: KeptAnswers
