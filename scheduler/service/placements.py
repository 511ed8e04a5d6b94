"""Why and why not: every host weighed against every constraint, without claiming anything."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from scheduler.model import Decision
from scheduler.placement.demand import ANY_IMAGE
from scheduler.placement.explanation import Explanation
from scheduler.placement.headroom import Headroom
from scheduler.service.admission import demand_of
from scheduler.service.catalogue import Catalogue
from scheduler.service.fleet import FleetView
from scheduler.service.requests import Wanted
from scheduler.service.terms import Terms
from scheduler.store import Store

_DEFAULT = Wanted.model_construct(base_image=ANY_IMAGE)


class PlacementService:
    """Answers questions about placement."""

    def __init__(
        self, store: Store, *, terms: Terms, catalogue: Catalogue, fleet: FleetView
    ) -> None:
        self._store = store
        self._terms = terms
        self._catalogue = catalogue
        self._fleet = fleet

    def explain(self, wanted: Wanted) -> Explanation:
        """Say what every host would answer to this request now."""
        return self._fleet.explain(demand_of(wanted, self._terms, self._catalogue))

    async def headroom(
        self, wanted: Wanted, *, at: datetime | None, without: Collection[str]
    ) -> Headroom:
        """Say how many such sandboxes the fleet could take; see `FleetView.headroom`."""
        demand = demand_of(wanted, self._terms, self._catalogue)
        return await self._fleet.headroom(demand, at=at, without=without)

    def placeable(self) -> int:
        """Say how many more sandboxes of the default size fit now, of an image that lies anywhere.

        From memory and at once, for a number that is watched; `headroom` is the exact answer.
        """
        return self._fleet.fitting(demand_of(_DEFAULT, self._terms))

    async def decision(self, decision_id: str) -> Decision:
        """Return a decision that was made, refusals included; raises `NotFound`."""
        return await self._store.read(lambda tx: tx.decisions.get(decision_id))
