"""Keeps replicas within their room and forgets what nobody went on with; wishes only.

What it decides is carried out by the replicator and the ingestor, as if an operator had asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from scheduler.clock import Clock
from scheduler.control.rounds import each
from scheduler.lifecycle.replicas import abandoned, surplus
from scheduler.model import Image, ReplicaState
from scheduler.service.images import condemned, given_up, image_event, replica_key
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
        images = await self._store.read(lambda tx: tx.images.all())
        if not images:
            return None
        for key in await self._store.submit(partial(self._thin_out, self._clock.now())):
            self._wake(key)
        await each("images", filter(self._abandoned, images), self._give_up)
        return None

    def _thin_out(self, now: datetime, tx: Transaction) -> tuple[str, ...]:
        """Condemn replicas that are too much, and note which of the others are in use."""
        images = {image.id: image for image in tx.images.all()}
        used = {
            (image.id, claim.host_id)
            for image in images.values()
            if image.digest is not None
            for clone in tx.images.clones(image.digest)
            for claim in tx.allocations.of_sandbox(clone.id)
        }
        woken: list[str] = []
        for host in tx.hosts.all():
            replicas = tx.replicas.of_host(host.id)
            for one in surplus(
                host, replicas, images, used=used, limit_mb=self._pace.replicas_limit_mb
            ):
                tx.replicas.replace(condemned(one.replica, now=now))
                image = images[one.replica.image_id]
                tx.events.add(image_event("image.surplus", image, one.reason, at=now, host=host.id))
                woken.append(replica_key(one.replica))
            for replica in replicas:
                there = (replica.image_id, replica.host_id)
                ready = replica.state is ReplicaState.READY and replica_key(replica) not in woken
                if ready and there in used and now - replica.used_at > USED_AGAIN_AFTER:
                    tx.replicas.replace(replace(replica, used_at=now))
        return tuple(woken)

    def _abandoned(self, image: Image) -> bool:
        idle = (self._clock.now() - image.updated_at).total_seconds()
        return abandoned(image, idle, after_seconds=self._pace.abandoned_seconds)

    async def _give_up(self, image: Image) -> None:
        if await self._store.submit(partial(self._record_end, image.id)):
            self._wake(image.id)

    def _record_end(self, image_id: str, tx: Transaction) -> bool:
        """Condemn an image, unless somebody has gone on with it meanwhile."""
        image, now = tx.images.get(image_id), self._clock.now()
        if not self._abandoned(image):
            return False
        tx.images.replace(given_up(image, now=now), expected=image.state)
        tx.events.add(image_event("image.abandoned", image, "nobody went on with it", at=now))
        return True
