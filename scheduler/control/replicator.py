"""Brings images to hosts and takes them away: one item is one image on one host.

A copy is a few bounded steps a turn, so that no call is long and a stop is never far. A volume's
name is its content's digest, and it counts only once the host has given back every byte: what a
crash left half-written is found by reading it, and written anew. What clones stand on is only read.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from scheduler.clock import Clock
from scheduler.control.replicas import ReplicaRecords, Standing
from scheduler.errors import HostRefused, HostTimeout
from scheduler.hosts import ObjectBusy
from scheduler.hosts.driver import HostDriver
from scheduler.hosts.image_files import ImageFiles
from scheduler.hosts.plans import NewReplica
from scheduler.lifecycle.clock_steps import pausing
from scheduler.model import HostHealth, HostResources, Replica, ReplicaState
from scheduler.model.images import DIGEST_PREFIX

PART_BYTES = 8 * 2**20
TURN_SECONDS = 30.0
COPIES_AT_ONCE = 2
"""So many images are on their way at the same time, to all hosts together."""
HOST_AGAIN_SECONDS = 5.0
MOST_LAG_SECONDS = 0.02
"""Beyond this lag of the event loop a copy pauses between its parts."""
_PAUSE_SECONDS = 0.25
_AT_ONCE = 0.0

Moved = Callable[[Standing], Awaitable[None]]
"""Told of a replica that a host now holds, or holds no longer."""
Measured = Callable[[int, float], None]
"""Told the bytes of a copy and the seconds that it took."""


@dataclass
class _Copy:
    """How far this daemon has come with one replica; nothing of it outlives a restart."""

    replica: Replica
    began_at: float
    writing: bool = False
    """Whether it is being written, or read back to be compared."""
    written: bool = False
    """Whether what is compared was written just now."""
    offset: int = 0
    hashed: Any = field(default_factory=hashlib.sha256)

    def compare_anew(self) -> None:
        self.writing, self.offset, self.hashed = False, 0, hashlib.sha256()
        self.written = True


class Replicator:
    """Works on one replica at a time; `Workers` sees to it that nobody else does."""

    def __init__(
        self,
        records: ReplicaRecords,
        clock: Clock,
        *,
        drivers: Callable[[HostResources], HostDriver],
        files: ImageFiles,
        moved: Moved,
        measured: Measured,
        lag_seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._records = records
        self._clock = clock
        self._drivers = drivers
        self._files = files
        self._moved = moved
        self._measured = measured
        self._lag_seconds = lag_seconds
        self._copies: dict[str, _Copy] = {}
        self._places = asyncio.Semaphore(COPIES_AT_ONCE)

    async def replicate(self, key: str) -> float | None:
        """Take a replica further; return the seconds after which to go on, None when it rests."""
        standing = await self._records.standing(key)
        if standing is None or standing.replica.state is ReplicaState.READY:
            self._copies.pop(key, None)
            return None
        if standing.replica.state is ReplicaState.REMOVING and not standing.listed:
            await self._records.strike(standing)  # it was only ever wished for
            await self._moved(standing)
            return None
        if standing.host.health is HostHealth.DOWN:
            return HOST_AGAIN_SECONDS
        retry_at, since = standing.replica.retry_at, standing.replica.updated_at
        if retry_at is not None and pausing(retry_at, since, standing.now):
            return (retry_at - standing.now).total_seconds()
        try:
            _check_pool(standing)
            if standing.replica.state is ReplicaState.REMOVING:
                self._copies.pop(key, None)
                return await self._remove(standing)
            async with self._places:
                return await self._turn(key, standing)
        except (HostRefused, HostTimeout) as error:
            self._copies.pop(key, None)
            return await self._records.failed(standing, error.message)

    async def _turn(self, key: str, standing: Standing) -> float | None:
        driver = self._drivers(standing.host)
        copy = self._copies.get(key)
        if copy is None or standing.replica.state is ReplicaState.WANTED:
            replica = await self._records.begin(standing)
            await driver.ensure_pool()
            copy = _Copy(replica=replica, began_at=self._clock.monotonic())
            self._copies[key] = copy
            if await driver.volume(replica.volume) is None:
                await self._begin_to_write(copy, standing, driver)
        elif copy.replica != standing.replica:
            copy.replica = standing.replica  # an operator asked for it meanwhile
        until = self._clock.monotonic() + TURN_SECONDS
        while not await self._part(copy, standing, driver):
            if self._clock.monotonic() >= until:
                return _AT_ONCE
            await self._give_way()
        try:
            await self._prove(copy, standing, driver)
        except ObjectBusy:
            return HOST_AGAIN_SECONDS  # no failure, and nothing that was compared is forgotten
        del self._copies[key]
        return None

    async def _begin_to_write(self, copy: _Copy, standing: Standing, driver: HostDriver) -> None:
        image = standing.image
        if standing.built_upon:
            raise HostRefused(
                f"replica {copy.replica.volume} on {standing.host.name} is not what it was, and "
                f"{len(standing.built_upon)} sandboxes stand on it",
                remedy="bring the file back as it was, or delete those sandboxes; it is never "
                "written under them",
            )
        shape = NewReplica(
            format=image.format or "raw",
            size=image.size_bytes,
            capacity=image.virtual_bytes or image.size_bytes,
        )
        takes_bytes = await driver.create_replica(copy.replica.volume, shape)
        copy.writing, copy.offset = takes_bytes, 0

    async def _part(self, copy: _Copy, standing: Standing, driver: HostDriver) -> bool:
        """Write or compare one part; return whether all of the image was found to be there."""
        image, volume = standing.image, copy.replica.volume
        if copy.writing:
            content = await self._files.read(image.digest or "", copy.offset, PART_BYTES)
            await driver.write_volume(volume, copy.offset, content)
            copy.offset += len(content)
            if copy.offset >= image.size_bytes:
                self._measured(image.size_bytes, self._clock.monotonic() - copy.began_at)
                copy.compare_anew()
            return False
        there = await driver.read_volume(volume, copy.offset, PART_BYTES)
        if there is None:
            return True  # a simulated host, whose volumes have a shape and no content
        copy.hashed.update(there)
        copy.offset += len(there)
        if len(there) == PART_BYTES and copy.offset <= image.size_bytes:
            return False
        if DIGEST_PREFIX + copy.hashed.hexdigest() == image.digest:
            return True
        if copy.written:
            raise HostRefused(
                f"host {standing.host.name} does not give back what was written to {volume}",
                remedy="look at the disk under its pool; it is written again",
            )
        await self._begin_to_write(copy, standing, driver)
        return False

    async def _prove(self, copy: _Copy, standing: Standing, driver: HostDriver) -> None:
        await driver.refresh_pool()
        base = await driver.inspect_base(copy.replica.volume)
        if (base.format, base.capacity) != (standing.image.format, standing.image.virtual_bytes):
            raise HostRefused(
                f"host {standing.host.name} takes image {standing.image.name} for {base.format} "
                f"of {base.capacity} bytes",
                remedy="see the host's libvirt log; it is copied again",
            )
        await self._records.proven(standing, copy.replica, base.fingerprint)
        await self._moved(standing)

    async def _remove(self, standing: Standing) -> float | None:
        replica, driver = standing.replica, self._drivers(standing.host)
        if standing.clones:
            raise HostRefused(
                f"{len(standing.clones)} sandboxes on {standing.host.name} stand on "
                f"{replica.volume}",
                remedy="nothing; it is removed when they are gone",
            )
        await self._moved(standing)
        await driver.ensure_pool()
        await driver.delete_volume(replica.volume)
        if not await driver.volumes_absent([replica.volume]):
            raise HostRefused(
                f"host {standing.host.name} still holds {replica.volume} after its removal",
                remedy="it is tried again; see the host's libvirt log if this stays",
            )
        await self._records.strike(standing)
        await self._moved(standing)
        return None

    async def _give_way(self) -> None:
        """Pause while the event loop is late, so that others are served first."""
        if self._lag_seconds() > MOST_LAG_SECONDS:
            await self._clock.wait(asyncio.Event(), _PAUSE_SECONDS)


def _check_pool(standing: Standing) -> None:
    if standing.replica.pool != standing.host.pool:
        raise HostRefused(
            f"replica {standing.replica.volume} is in pool {standing.replica.pool} of "
            f"{standing.host.name}, whose pool is {standing.host.pool} now",
            remedy=f"set the host's pool back to {standing.replica.pool}, or evict the image first",
        )
