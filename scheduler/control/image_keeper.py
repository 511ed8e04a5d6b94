"""Keeps replicas within their room and forgets what nobody went on with; wishes only.

What it decides is carried out by the replicator and the ingestor, as if an operator had asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from scheduler.clock import Clock
from scheduler.control.rounds import each
from scheduler.lifecycle.replicas import Surplus, abandoned, surplus
from scheduler.model import HostState, Image, Replica, ReplicaState
from scheduler.service.images import condemned, given_up, image_event, replica_key
from scheduler.service.moves import condemn, useless_images
from scheduler.store import Store, Transaction

USED_AGAIN_AFTER = timedelta(hours=1)
"""How stale the note of a replica's last use may grow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePace:
    """How much is kept for how long."""

    replicas_limit_mb: int = 204800
    abandoned_seconds: float = 86400.0
    most_bytes: int = 65536 * 2**20
    most_virtual_bytes: int = 2**40


@dataclass(frozen=True, slots=True, kw_only=True)
class _Thinning:
    """The replicas that are to go, with their hosts' states, and those in use to be noted so."""

    spare: tuple[tuple[HostState, Surplus], ...]
    used: tuple[Replica, ...]


class ImageKeeper:
    """One pass over all images; `wake` tells the loops of an image or `image/host`."""

    def __init__(
        self, store: Store, clock: Clock, pace: ImagePace, *, wake: Callable[[str], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._pace = pace
        self._wake = wake

    async def keep(self) -> float | None:
        """Condemn what is too much or abandoned."""
        images = await self._store.read(lambda tx: tx.images.readable())
        if not images:
            return None
        now = self._clock.now()
        thinning = await self._store.read(partial(self._plan, now))
        if thinning.spare or thinning.used:
            for key in await self._store.submit(partial(_thin_out, thinning, now)):
                self._wake(key)
        await each("images", filter(self._abandoned, images), self._give_up)
        carriers = {one.owner_sandbox_id: one for one in images if one.owner_sandbox_id}
        await each("images", carriers.values(), self._let_go)
        return None

    def _plan(self, now: datetime, tx: Transaction) -> _Thinning:
        """Find what is too much and what is in use: a fleet's worth of rows, so by a reader."""
        images = {image.id: image for image in tx.images.readable()}
        cloned = tx.images.cloned()
        held: defaultdict[str, list[Replica]] = defaultdict(list)
        for one in tx.replicas.readable():
            if one.image_id in images:
                held[one.host_id].append(one)
        spare: list[tuple[HostState, Surplus]] = []
        used: list[Replica] = []
        for host in tx.hosts.readable():
            replicas = held[host.id]
            needed = [one for one in replicas if (images[one.image_id].digest, host.id) in cloned]
            there = {(one.image_id, one.host_id) for one in needed}
            limit_mb = self._pace.replicas_limit_mb
            found = surplus(host, replicas, images, used=there, limit_mb=limit_mb)
            spare += ((host.state, one) for one in found)
            used += (one for one in needed if _long_unnoted(one, now))
        return _Thinning(spare=tuple(spare), used=tuple(used))

    def _abandoned(self, image: Image) -> bool:
        idle = (self._clock.now() - image.updated_at).total_seconds()
        return abandoned(image, idle, after_seconds=self._pace.abandoned_seconds)

    async def _give_up(self, image: Image) -> None:
        if await self._store.submit(partial(self._record_end, image.id)):
            self._wake(image.id)

    async def _let_go(self, carrier: Image) -> None:
        """Have go what moved the sandbox that an image belongs to, but for what is needed."""
        sandbox_id = carrier.owner_sandbox_id or ""
        if not await self._store.read(lambda tx: useless_images(tx, sandbox_id)):
            return
        for key in await self._store.submit(partial(self._condemn, sandbox_id)):
            self._wake(key)

    def _condemn(self, sandbox_id: str, tx: Transaction) -> tuple[str, ...]:
        now = self._clock.now()
        useless = useless_images(tx, sandbox_id)
        return tuple(key for image in useless for key in condemn(tx, image, now=now))

    def _record_end(self, image_id: str, tx: Transaction) -> bool:
        """Condemn an image, unless somebody has gone on with it meanwhile."""
        image, now = tx.images.get(image_id), self._clock.now()
        if not self._abandoned(image):
            return False
        tx.images.replace(given_up(image, now=now), expected=image.state)
        tx.events.add(image_event("image.abandoned", image, "nobody went on with it", at=now))
        return True


def _thin_out(thinning: _Thinning, now: datetime, tx: Transaction) -> tuple[str, ...]:
    """Condemn what is still as it was found, and unused; return its keys. Note what is in use."""
    woken: list[str] = []
    for state, one in thinning.spare:
        replica = one.replica
        if not _unchanged(replica, tx) or tx.hosts.get(replica.host_id).state is not state:
            continue
        image = tx.images.get(replica.image_id)
        if tx.images.clones(image.digest or "", replica.host_id):
            continue  # somebody was placed there meanwhile
        tx.replicas.replace(condemned(replica, now=now))
        event = image_event("image.surplus", image, one.reason, at=now, host=replica.host_id)
        tx.events.add(event)
        woken.append(replica_key(replica))
    for replica in thinning.used:
        if _unchanged(replica, tx):
            tx.replicas.replace(replace(replica, used_at=now))
    return tuple(woken)


def _unchanged(replica: Replica, tx: Transaction) -> bool:
    return tx.replicas.get(replica.image_id, replica.host_id) == replica


def _long_unnoted(replica: Replica, now: datetime) -> bool:
    """Return whether the note of a replica's last use is stale; one of a time to come is."""
    noted = timedelta() <= now - replica.used_at <= USED_AGAIN_AFTER
    return replica.state is ReplicaState.READY and not noted
