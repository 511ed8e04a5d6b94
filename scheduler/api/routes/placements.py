"""/v1/placements, /v1/decisions and /v1/capacity: why and why not, and how many more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response

from scheduler.api import answers
from scheduler.api.answers import Form
from scheduler.api.queries import CapacityQuery, Reference, moment_of
from scheduler.api.routing import Operation, Row, table
from scheduler.model import Decision
from scheduler.placement.documents import Document, demand_document, explanation_document
from scheduler.placement.headroom import Amounts, Headroom
from scheduler.placement.outlook import Outcome
from scheduler.service.requests import Wanted
from scheduler.service.services import Services

_EXPLANATION: Form[Document] = Form(dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRoom:
    """How many a host takes, the filter that refuses the next one, or all that refuse the first."""

    host_id: str
    host_name: str
    fits: int
    bound_by: str | None
    free: Amounts
    limit: Amounts
    refused: tuple[str, ...]
    message: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """How many the fleet takes; the demand's memory is what is charged, overhead included."""

    fits: int
    demand: Mapping[str, Any]
    at: datetime | None
    without_hosts: tuple[str, ...]
    outcome: Outcome
    refusals: Mapping[str, int]
    smallest_change: str | None
    hosts: tuple[HostRoom, ...]


_CAPACITY: Form[Capacity] = Form(Capacity)


class PlacementRoutes:
    """What can be asked about placement."""

    def __init__(self, services: Services) -> None:
        self._placements = services.placements

    def operations(self) -> tuple[Operation, ...]:
        """Return the noun's table."""
        rows: tuple[Row, ...] = (
            ("POST", "/v1/placements/explain", self.explain, dict[str, Any], 200),
            ("GET", "/v1/capacity", self.capacity, Capacity, 200),
            ("GET", "/v1/decisions/{reference}", self.decision, Decision, 200),
        )
        return table(rows)

    async def explain(self, body: Wanted) -> Response:
        """Weigh every host against every constraint; nothing is claimed."""
        return _EXPLANATION.respond(explanation_document(self._placements.explain(body)))

    async def capacity(self, query: Annotated[CapacityQuery, Query()]) -> Response:
        """Count how many sandboxes of a size there is room for, in the fleet and on each host.

        What is not given is the daemon's default; without `base_image` it may lie anywhere. `at`
        counts as free what leases give back until then, `without_host` leaves hosts out.
        """
        at = moment_of(query.at)
        found = await self._placements.headroom(query.wanted(), at=at, without=query.without_host)
        return _CAPACITY.respond(_capacity(found, at, query.without_host))

    async def decision(self, reference: Reference) -> Response:
        """Show a decision, a refusal too."""
        return answers.DECISION.respond(await self._placements.decision(reference))


def _capacity(found: Headroom, at: datetime | None, without: Iterable[str]) -> Capacity:
    choice = found.explanation.choice
    return Capacity(
        fits=found.fits,
        demand={**demand_document(choice.demand), "image": choice.demand.image or None},
        at=at,
        without_hosts=tuple(sorted(without)),
        outcome=choice.outcome,
        refusals=choice.refusals,
        smallest_change=choice.smallest_change,
        hosts=tuple(
            HostRoom(
                host_id=room.weighed.host_id,
                host_name=room.weighed.host_name,
                fits=room.fits,
                bound_by=room.bound_by,
                free=room.free,
                limit=room.limit,
                refused=room.weighed.refused,
                message=room.weighed.message,
            )
            for room in found.hosts
        ),
    )
