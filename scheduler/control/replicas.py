"""What the copying of images writes down: wishes before host calls, proofs after them.

Who builds and who copies both go by these rows. A replica's room is charged to its host in the
same transaction that begins the copy, so that no claim can be given it meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from scheduler.clock import Clock
from scheduler.errors import HostRefused
from scheduler.lifecycle.outcomes import backoff_seconds
from scheduler.model import (
    HostResources,
    Image,
    Replica,
    ReplicaState,
    Sandbox,
    Volume,
    VolumeRole,
    VolumeState,
)
from scheduler.service.images import image_event, replica_key, want_replica
from scheduler.store import Store, Transaction

LONGEST_PAUSE_SECONDS = 300.0
FAILURES_UNTIL_BUILDS_GIVE_UP = 3
"""So often a copy may fail before the sandboxes that wait for it try another host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A replica with its image and host as they are recorded, and when that was read."""

    replica: Replica
    image: Image
    host: HostResources
    clones: tuple[Sandbox, ...]
    """Live sandboxes on the host that are, or wait to be, made from the image."""
    listed: bool
    """Whether a host call was ever committed for it, so that something may be there."""
    now: datetime

    @property
    def built_upon(self) -> tuple[Sandbox, ...]:
        """Return those of which a disk may lie over the replica."""
        return tuple(clone for clone in self.clones if clone.base_fingerprint is not None)


class ReplicaRecords:
    """The store's side of replicas."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def standing(self, key: str) -> Standing | None:
        """Read a replica; None when there is no such row."""
        return await self._store.read(partial(self._standing, key))

    async def wanted_for(self, sandbox: Sandbox, host: HostResources) -> Replica | None:
        """Return the replica that a sandbox is built on, wished for if need be.

        None when the control node does not know the image, as after a rebuild.
        """
        digest = sandbox.image_digest or ""
        found = await self._store.read(partial(_replica_of, digest, host.id))
        if found is not None and found.state is not ReplicaState.REMOVING:
            return found
        return await self._store.submit(partial(self._want, digest, host))

    async def begin(self, standing: Standing) -> Replica:
        """Commit the intent to copy: list the volume and charge its room; once.

        Raises `HostRefused` when the host has no room for it.
        """
        if standing.replica.state is ReplicaState.COPYING:
            return standing.replica
        return await self._store.submit(partial(self._begin, standing))

    async def proven(self, standing: Standing, replica: Replica, fingerprint: str) -> None:
        """Record that the host holds the image, byte by byte."""
        await self._store.submit(partial(self._prove, standing, replica, fingerprint))

    async def failed(self, standing: Standing, message: str) -> float:
        """Record why a copy or a removal failed; return the seconds until the next attempt."""
        tries = standing.replica.attempts + 1
        pause = backoff_seconds(tries, longest=LONGEST_PAUSE_SECONDS)
        await self._store.submit(partial(self._fail, standing, message, pause))
        return pause

    async def strike(self, standing: Standing) -> None:
        """Record that nothing is left of a replica."""
        await self._store.submit(partial(self._strike, standing))

    async def pending(self) -> tuple[str, ...]:
        """Return the keys of the replicas that have work to do."""
        replicas = await self._store.read(lambda tx: tx.replicas.readable())
        return tuple(replica_key(one) for one in replicas if one.state is not ReplicaState.READY)

    def _standing(self, key: str, tx: Transaction) -> Standing | None:
        image_id, _, host_id = key.partition("/")
        replica = tx.replicas.get(image_id, host_id)
        if replica is None:
            return None
        image = tx.images.get(image_id)
        return Standing(
            replica=replica,
            image=image,
            host=tx.hosts.get(host_id),
            clones=tx.images.clones(image.digest or "", host_id),
            listed=any(volume.host_id == host_id for volume in tx.volumes.of_owner(image_id)),
            now=self._clock.now(),
        )

    def _want(self, digest: str, host: HostResources, tx: Transaction) -> Replica | None:
        image = _usable(digest, tx)
        if image is None:
            return None
        return want_replica(tx, image, host.id, host.pool, now=self._clock.now())

    def _begin(self, standing: Standing, tx: Transaction) -> Replica:
        now, image = self._clock.now(), standing.image
        host = tx.hosts.get(standing.host.id)
        left = host.limit_storage_mb - host.reserved_storage_mb
        if left < image.size_mb:
            raise HostRefused(
                f"host {host.name} has {max(0, left)} MiB of storage left, and a copy of image "
                f"{image.name} takes {image.size_mb} MiB",
                remedy="make room there, or evict images that nobody needs",
            )
        key = (host.id, standing.replica.pool, standing.replica.volume)
        if all((v.host_id, v.pool, v.name) != key for v in tx.volumes.of_owner(image.id)):
            tx.volumes.add(
                Volume(
                    owner=image.id,
                    host_id=host.id,
                    pool=standing.replica.pool,
                    name=standing.replica.volume,
                    role=VolumeRole.IMAGE,
                    created_at=now,
                )
            )
        tx.hosts.observe(
            host.id, at=now, unmanaged_storage_mb=host.unmanaged_storage_mb + image.size_mb
        )
        return tx.replicas.replace(
            replace(standing.replica, state=ReplicaState.COPYING, updated_at=now)
        )

    def _prove(
        self, standing: Standing, replica: Replica, fingerprint: str, tx: Transaction
    ) -> None:
        now = self._clock.now()
        tx.replicas.replace(
            replace(
                replica,
                state=ReplicaState.READY,
                fingerprint=fingerprint,
                attempts=0,
                reason=None,
                retry_at=None,
                used_at=now,
                updated_at=now,
            )
        )
        volume = tx.volumes.get(replica.host_id, replica.pool, replica.volume)
        if volume.state is VolumeState.PLANNED:
            tx.volumes.mark_created(replica.host_id, replica.pool, replica.volume)
        self._tell(tx, standing, "image.replicated", f"host {standing.host.name} holds it")

    def _fail(self, standing: Standing, message: str, pause: float, tx: Transaction) -> None:
        now = self._clock.now()
        current = tx.replicas.get(standing.replica.image_id, standing.replica.host_id)
        if current is None or current.state is ReplicaState.READY:
            return
        tx.replicas.replace(
            replace(
                current,
                attempts=current.attempts + 1,
                reason=message,
                retry_at=now + timedelta(seconds=pause),
                updated_at=now,
            )
        )
        if current.reason != message:
            self._tell(tx, standing, "image.replica_failed", message)

    def _strike(self, standing: Standing, tx: Transaction) -> None:
        replica = standing.replica
        tx.replicas.remove(replica)
        for volume in tx.volumes.of_owner(replica.image_id):
            if (volume.host_id, volume.name) == (replica.host_id, replica.volume):
                tx.volumes.remove(volume.host_id, volume.pool, volume.name)
        self._tell(tx, standing, "image.evicted", f"nothing of it is left on {standing.host.name}")

    def _tell(self, tx: Transaction, standing: Standing, kind: str, message: str) -> None:
        tx.events.add(
            image_event(kind, standing.image, message, at=self._clock.now(), host=standing.host.id)
        )


def _replica_of(digest: str, host_id: str, tx: Transaction) -> Replica | None:
    image = _usable(digest, tx)
    return None if image is None else tx.replicas.get(image.id, host_id)


def _usable(digest: str, tx: Transaction) -> Image | None:
    return next((one for one in tx.images.of_digest(digest) if one.usable), None)
