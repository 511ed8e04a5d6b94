"""The fleet in memory: what placement chooses from.

It is a copy made for speed and never the truth: the guard in the store decides whether a claim
holds. A choice is charged here at once, before its transaction, so that requests being decided at
the same moment do not all choose the same host; should the store refuse, the charge is taken back
and the host's row read again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from scheduler.clock import Clock
from scheduler.errors import NotFound
from scheduler.model import HostResources, ReplicaState, Resources
from scheduler.placement.choice import Choice, choose
from scheduler.placement.demand import Demand
from scheduler.placement.explanation import Explanation, explain
from scheduler.placement.fleet import Fleet
from scheduler.placement.headroom import Headroom, fitting, headroom
from scheduler.placement.policy import Policy
from scheduler.store import Store, Transaction

RELOAD_SECONDS = 1.0
"""A refusal is checked against the store at most this often."""

Decided = Callable[[Choice, float], None]
"""Told of each decision and of the seconds it took."""


def unheard(_choice: Choice, _seconds: float) -> None:
    """Tell nobody."""


_Place = tuple[str, str]
"""A host and the pool there in which a replica is."""


@dataclass(frozen=True, slots=True, eq=False)
class Charge:
    """A choice whose claim is on its way to the store; equal only to itself."""

    host_id: str
    resources: Resources
    group: str | None


class FleetView:
    """The one owner of the in-memory fleet."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        policy: Policy,
        stale_after_seconds: float,
        decided: Decided = unheard,
    ) -> None:
        self._decided = decided
        self._store = store
        self._clock = clock
        self._policy = policy
        self._stale_after = stale_after_seconds
        self._fleet = Fleet.of(())
        self._hosts: dict[str, HostResources] = {}
        self._pending: dict[str, set[Charge]] = defaultdict(set)
        self._loading = asyncio.Lock()
        self._loaded_at = float("-inf")

    async def load(self) -> None:
        """Read every host and its anti-affinity groups from the store."""
        async with self._loading:
            hosts, groups, holders = await self._store.read(_hosts_and_groups)
            self._fleet = _fleet_of(hosts, groups, holders)
            self._hosts = {host.id: host for host in hosts}
            self._loaded_at = self._clock.monotonic()
            for charges in self._pending.values():
                for charge in charges:
                    self._charge(charge)

    async def reload(self) -> bool:
        """Load again unless that was done a moment ago; return whether it was."""
        if self._clock.monotonic() - self._loaded_at < RELOAD_SECONDS:
            return False
        await self.load()
        return True

    async def reread(self, host_id: str) -> None:
        """Take one host's row from the store, or drop the host when there is none."""
        try:
            host = await self._store.read(lambda tx: tx.hosts.get(host_id))
        except NotFound:
            self.drop(host_id)
        else:
            await self.meet(host)

    async def meet(self, host: HostResources) -> None:
        """Take over a host's row, with all that is known of one that was not there.

        One whose row could not be read for a while has groups and images, unlike a new one.
        """
        if host.id in self._hosts:
            self.put(host)
        else:
            await self.load()

    def put(self, host: HostResources) -> None:
        """Take over a host's row as it was just committed or read."""
        self._fleet.put(host)
        self._hosts[host.id] = host
        for charge in self._pending.get(host.id, ()):
            self._charge(charge)

    async def reread_image(self, image_id: str) -> None:
        """Take from the store which hosts hold an image."""
        digest, places = await self._store.read(partial(_holders_of, image_id))
        self._fleet.hold(digest, [place[0] for place in places if self._is_pool(*place)])

    def drop(self, host_id: str) -> None:
        """Forget a host that was removed."""
        if self._hosts.pop(host_id, None) is not None:
            self._fleet.drop(host_id)

    def release(self, host_id: str, resources: Resources, group: str | None = None) -> None:
        """Give back what a committed release freed; called by whoever buries a sandbox."""
        if host_id in self._hosts:
            self._fleet.release(host_id, resources, group)

    def hosts(self) -> Sequence[HostResources]:
        """Return the hosts as placement sees them now."""
        return self._fleet.hosts()

    def record(self, host_id: str) -> HostResources:
        """Return a host's row as it was last taken over: its claims may have changed since."""
        return self._hosts[host_id]

    async def choose(self, demand: Demand) -> Choice:
        """Decide where the demand would go, changing nothing.

        A refusal is checked against the store first, as memory may lag behind.
        """
        begun = self._clock.monotonic()
        choice = self._choose(demand)
        if choice.chosen is None and await self.reload():
            choice = self._choose(demand)
        self._decided(choice, self._clock.monotonic() - begun)
        return choice

    def _choose(self, demand: Demand) -> Choice:
        return choose(
            demand,
            self._fleet,
            self._policy,
            now=self._clock.now(),
            stale_after_seconds=self._stale_after,
        )

    def explain(self, demand: Demand) -> Explanation:
        """Weigh every host against every constraint."""
        return explain(
            demand,
            self._fleet,
            self._policy,
            now=self._clock.now(),
            stale_after_seconds=self._stale_after,
        )

    async def headroom(
        self, demand: Demand, *, at: datetime | None, without: Collection[str]
    ) -> Headroom:
        """Return how many sandboxes like the demand there is room for, by what is committed.

        Later, once the leases that end by then have ended; or with the hosts of these names away,
        and what stands on them left there. Raises `NotFound` for a name that no host has.
        """
        fleet = await self._store.read(partial(_supposed, at, frozenset(without)))
        now, stale_after = self._clock.now(), self._stale_after
        return headroom(demand, fleet, now=now, stale_after_seconds=stale_after)

    def fitting(self, demand: Demand) -> int:
        """Return how many such sandboxes fit by what is in memory: claims on their way count."""
        now, stale_after = self._clock.now(), self._stale_after
        return fitting(demand, self._fleet, now=now, stale_after_seconds=stale_after)

    def charge(self, host_id: str, demand: Demand) -> Charge:
        """Charge a choice before its claim is committed; settle it in any case."""
        charge = Charge(host_id, demand.resources, demand.anti_affinity_group)
        self._charge(charge)
        self._pending[host_id].add(charge)
        return charge

    def settle(self, charge: Charge, *, committed: bool) -> None:
        """Keep a charge whose claim was committed, take back any other."""
        pending = self._pending[charge.host_id]
        pending.discard(charge)
        if not pending:
            del self._pending[charge.host_id]
        if not committed:
            self.release(charge.host_id, charge.resources, charge.group)

    def _is_pool(self, host_id: str, pool: str) -> bool:
        """Return whether a host builds in this pool: what lies in another one is of no use."""
        host = self._hosts.get(host_id)
        return host is not None and host.pool == pool

    def _charge(self, charge: Charge) -> None:
        if charge.host_id in self._hosts:
            self._fleet.claim(charge.host_id, charge.resources, charge.group)


def _fleet_of(
    hosts: Collection[HostResources],
    groups: Mapping[str, Collection[str]],
    holders: Mapping[str, Collection[_Place]],
) -> Fleet:
    fleet, pools = Fleet.of(hosts, groups), {host.id: host.pool for host in hosts}
    for digest, places in holders.items():
        fleet.hold(digest, [host_id for host_id, pool in places if pools.get(host_id) == pool])
    return fleet


def _supposed(at: datetime | None, without: AbstractSet[str], tx: Transaction) -> Fleet:
    hosts, groups, holders = _hosts_and_groups(tx)
    if unknown := sorted(without - {host.name for host in hosts}):
        raise NotFound(
            f"there is no host {', '.join(unknown)}",
            remedy="see which there are: sandboxctl host list",
        )
    hosts = [host for host in hosts if host.name not in without]
    if at is None:
        return _fleet_of(hosts, groups, holders)
    tried_again = [
        replace(host, breakers=tuple(one for one in host.breakers if one.retry_at > at))
        for host in hosts
    ]
    fleet, known = _fleet_of(tried_again, groups, holders), {host.id for host in hosts}
    for freed in tx.allocations.ending(at):
        if freed.host_id in known:
            fleet.release(freed.host_id, freed.resources, freed.anti_affinity_group)
    return fleet


def _hosts_and_groups(
    tx: Transaction,
) -> tuple[Collection[HostResources], dict[str, list[str]], dict[str, list[_Place]]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for host_id, group in tx.allocations.groups():
        groups[host_id].append(group)
    digests = {image.id: image.digest or "" for image in tx.images.readable()}
    holders: dict[str, list[_Place]] = defaultdict(list)
    for replica in tx.replicas.readable():
        if replica.state is ReplicaState.READY and replica.image_id in digests:
            holders[digests[replica.image_id]].append((replica.host_id, replica.pool))
    return tx.hosts.readable(), groups, holders


def _holders_of(image_id: str, tx: Transaction) -> tuple[str, list[_Place]]:
    try:
        digest = tx.images.get(image_id).digest or ""
    except NotFound:
        return "", []
    replicas = tx.replicas.of_image(image_id)
    return digest, [(one.host_id, one.pool) for one in replicas if one.state is ReplicaState.READY]
