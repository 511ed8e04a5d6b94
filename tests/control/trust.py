"""Services that read what a world's loops see: for the verbs that compare records with hosts."""

from __future__ import annotations

from scheduler.control.listings import Listings
from scheduler.service.services import Services, Wakes
from scheduler.service.terms import Terms
from tests.control.world import CLUSTER, World


def trusting(there: World, listings: Listings | None = None) -> Services:
    """Return the world's services with the listings of its own looks, or of a running plane."""
    return Services.over(
        there.store,
        there.clock,
        terms=Terms(cluster_id=CLUSTER),
        fleet=there.fleet,
        journal=there.journal,
        wakes=Wakes(sandbox=there.bell.sandbox, host=there.bell.host, drain=there.bell.drain),
        listings=there.listings if listings is None else listings,
    )
