"""Keeps replicas within their room and forgets what nobody went on with; wishes only.

What it decides is carried out by the replicator and the ingestor, as if an operator had asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from scheduler.clock import Clock
from scheduler.lifecycle.replicas import abandoned, surplus
from scheduler.model import ImageState, ReplicaState
from scheduler.service.images import condemned, image_event, replica_key
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
        if not await self._store.read(lambda tx: bool(tx.images.all())):
            return None
        for key in await self._store.submit(partial(self._plan, self._clock.now())):
            self._wake(key)
        return None

    def _plan(self, now: datetime, tx: Transaction) -> tuple[str, ...]:
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
        for image in images.values():
            idle = (now - image.updated_at).total_seconds()
            if abandoned(image, idle, after_seconds=self._pace.abandoned_seconds):
                gone = replace(image, state=ImageState.REMOVING, updated_at=now)
                tx.images.replace(gone, expected=image.state)
                woken.append(image.id)
        return tuple(woken)
