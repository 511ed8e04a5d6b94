"""What the loops last saw of the hosts, lent to services that compare it with the records.

A service never looks at a host. It may ask for a fresh look and wait a bounded while for it; what
it then reads says how old it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol

from scheduler.clock import Clock
from scheduler.errors import Conflict, NotFound
from scheduler.lifecycle.books import Witnesses
from scheduler.model import HostHealth, HostResources, Inventory, ObservedDomain

LOOK_EVERY_SECONDS = 0.05


class Listings(Protocol):
    """The latest complete listings of the hosts, as the polling loop keeps them."""

    def latest(self, host_id: str) -> Inventory | None:
        """Return the newest complete listing of a host."""
        ...

    def previous(self, host_id: str) -> Inventory | None:
        """Return the listing before the newest."""
        ...

    def mutated_at(self, sandbox_id: str) -> float | None:
        """Return the monotonic time of our last host call for a sandbox."""
        ...


class Unseen:
    """Listings of a daemon that has not seen any host yet."""

    def latest(self, _host_id: str) -> Inventory | None:
        """Return None: nothing was seen."""
        return None

    def previous(self, _host_id: str) -> Inventory | None:
        """Return None: nothing was seen."""
        return None

    def mutated_at(self, _sandbox_id: str) -> float | None:
        """Return None: nothing was done."""
        return None


class Sightings:
    """Reads listings; `wake` has a host looked at as soon as may be."""

    def __init__(
        self,
        listings: Listings,
        clock: Clock,
        *,
        wake: Callable[[str], None],
        stale_after_seconds: float,
    ) -> None:
        self.stale_after_seconds = stale_after_seconds
        self._listings = listings
        self._clock = clock
        self._wake = wake

    async def refresh(self, hosts: Collection[HostResources], seconds: float) -> None:
        """Have the hosts looked at, and wait until all were, or for so many seconds."""
        asked_at = self._clock.monotonic()
        waiting = {host.id for host in hosts if host.health is not HostHealth.DOWN}
        if seconds <= 0:
            return
        for host_id in waiting:
            self._wake(host_id)
        never = asyncio.Event()
        while waiting and self._clock.monotonic() - asked_at < seconds:
            await self._clock.wait(never, LOOK_EVERY_SECONDS)
            waiting = {id for id in waiting if not self._seen_since(id, asked_at)}

    def of(self, host_id: str) -> Witnesses:
        """Return what was last seen of a host, and how long ago."""
        latest = self._listings.latest(host_id)
        return Witnesses(
            latest=latest,
            previous=self._listings.previous(host_id),
            age_seconds=0.0
            if latest is None
            else max(0.0, self._clock.monotonic() - latest.begun_at),
        )

    def mutated_at(self, sandbox_id: str) -> float | None:
        """Return the monotonic time of our last host call for a sandbox."""
        return self._listings.mutated_at(sandbox_id)

    def domain(self, host: HostResources, uuid: str) -> tuple[Inventory, ObservedDomain]:
        """Return a domain as it was last seen, with its listing.

        Raises `NotFound` when it is not there, `Conflict` when nobody can tell now.
        """
        seen = self.of(host.id)
        if seen.latest is None or seen.age_seconds > self.stale_after_seconds:
            raise Conflict(
                f"host {host.name} was not listed lately, so nobody can tell what is on it",
                remedy=f"see what keeps it: sandboxctl host show {host.name}",
                details={"health": host.health.value, "health_reason": host.health_reason},
            )
        domain = seen.latest.domain(uuid)
        if domain is not None:
            return seen.latest, domain
        raise NotFound(
            f"there is no domain {uuid} on host {host.name}",
            remedy="see what there is: sandboxctl orphan list",
        )

    def _seen_since(self, host_id: str, at: float) -> bool:
        latest = self._listings.latest(host_id)
        return latest is not None and latest.begun_at >= at
