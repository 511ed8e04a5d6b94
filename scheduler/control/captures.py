"""Makes an image of a sandbox's disk at its end: flattened on its host, taken in, then let go.

Everything it goes by is recorded: the volume is listed before it is made, the image is a row that
the ingestor works on, and only one that is READY, of these very bytes, turns the sandbox's end into
its destruction. So a restarted daemon goes on where the records are. A volume of no further use
goes before the next end's is made, or with the sandbox.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from scheduler import ids
from scheduler.clock import Clock
from scheduler.control.copies import charge_copy
from scheduler.control.records import Changed
from scheduler.errors import Conflict, HostRefused
from scheduler.hosts.driver import HostDriver
from scheduler.lifecycle import layers, outcomes
from scheduler.lifecycle.captures import ended_at, flat_volume, image_names
from scheduler.model import (
    DesiredState,
    Ending,
    HostResources,
    Image,
    ImageState,
    Phase,
    Sandbox,
    Volume,
    VolumeRole,
    VolumeState,
)
from scheduler.service.images import image_event
from scheduler.service.lease_time import lease_time
from scheduler.service.sandbox_records import put
from scheduler.store import Store, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """How far the capture of one sandbox has come."""

    live: Volume | None
    """What took the guest's writes last; snapshots put layers above the first one."""
    flat: Volume | None
    image: Image | None
    """The newest that was made of the volume, unless it is being removed."""
    refused: int
    """How many images of the volume were refused."""
    twin: Image | None
    """The image of the same content for which the newest was refused."""
    former: tuple[Volume, ...]
    """What was copied at ends before this one, and is not being taken in."""


class Captures:
    """The converger's way from a stopped sandbox to an image."""

    def __init__(
        self, store: Store, clock: Clock, *, wake: Callable[[str], None], changed: Changed
    ) -> None:
        self._store = store
        self._clock = clock
        self._wake = wake
        self._changed = changed

    async def capture(self, sandbox: Sandbox, host: HostResources, driver: HostDriver) -> bool:
        """Go on with the capture; return whether the image is there, and the sandbox may go.

        Raises `HostRefused` for what the host or the image gate refused: it is tried again.
        """
        ended = ended_at(sandbox)
        if ended is None:
            return True
        name = flat_volume(sandbox, ended)
        standing = await self._store.read(partial(_standing, sandbox, name))
        disk = _disk_of(sandbox, standing)
        if standing.flat is None or sandbox.phase is not Phase.IMAGE:
            sandbox = await self._store.submit(partial(self._begin, sandbox, host, name))
        if standing.former:
            await self._remove(standing.former, driver)
            return False
        if standing.flat is None or standing.flat.state is VolumeState.PLANNED:
            await driver.ensure_pool()
            await driver.flatten_volume(disk.name, name)
            await self._store.submit(partial(self._flattened, host, name))
        image = standing.twin or standing.image
        if image is None or (image.state is ImageState.REFUSED and _again(sandbox, standing)):
            taken = await self._store.submit(partial(self._take, sandbox, host, name, ended))
            self._wake(taken.id)
            return False
        if image.state is ImageState.REFUSED:
            raise HostRefused(
                f"the disk of {sandbox.sandbox_name} was refused as an image: {image.reason}",
                remedy="it is tried again; delete the sandbox if its disk is of no use",
            )
        if image.state is ImageState.READY:
            finished = await self._store.submit(partial(self._finish, sandbox, image))
            self._changed(sandbox, finished)
            return True
        return False

    def _begin(self, sandbox: Sandbox, host: HostResources, name: str, tx: Transaction) -> Sandbox:
        now = lease_time(tx, self._clock)
        standing = _standing(sandbox, name, tx)
        if standing.flat is None and not standing.former:
            self._claim(sandbox, host, tx, now)
            tx.volumes.add(
                Volume(
                    owner=sandbox.id,
                    host_id=host.id,
                    pool=host.pool,
                    name=name,
                    role=VolumeRole.DISK,
                    created_at=now,
                )
            )
        return put(tx, sandbox, outcomes.begun(sandbox, Phase.IMAGE, now=now))

    def _claim(self, sandbox: Sandbox, host: HostResources, tx: Transaction, now: datetime) -> None:
        """Charge the host with the room that the whole disk may take; refused without any."""
        what = f"the whole disk of {sandbox.sandbox_name}"
        remedy = "make room there: it is tried again"
        charge_copy(tx, host, sandbox.storage_mb, what, remedy=remedy, at=now)

    async def _remove(self, volumes: Collection[Volume], driver: HostDriver) -> None:
        """Remove what was copied at former ends: it takes room that this end's copy needs."""
        await driver.ensure_pool()
        for volume in volumes:
            await driver.delete_volume(volume.name)
            if not await driver.volumes_absent([volume.name]):
                raise HostRefused(f"the volume {volume.name} is there still")
            await self._store.submit(partial(self._struck, volume))

    def _struck(self, volume: Volume, tx: Transaction) -> None:
        tx.volumes.remove(volume.host_id, volume.pool, volume.name)

    def _flattened(self, host: HostResources, name: str, tx: Transaction) -> None:
        tx.volumes.mark_created(host.id, host.pool, name)

    def _take(
        self, sandbox: Sandbox, host: HostResources, name: str, ended: datetime, tx: Transaction
    ) -> Image:
        now = self._clock.now()
        taken = {one.name for one in tx.images.all() if one.state is not ImageState.REFUSED}
        first, otherwise = image_names(sandbox, ended)
        image = tx.images.add(
            Image(
                id=ids.new_id(ids.Prefix.IMAGE),
                name=otherwise if first in taken else first,
                digest=None,
                state=ImageState.FETCHING,
                size_bytes=0,
                source_host_id=host.id,
                source_volume=name,
                actor=sandbox.agent_id,
                created_at=now,
                updated_at=now,
            )
        )
        whence = f"from the disk of {sandbox.sandbox_name} on {host.name}, whose lease ended"
        tx.events.add(image_event("image.taken", image, whence, at=now, host=host.id))
        return image

    def _finish(self, sandbox: Sandbox, image: Image, tx: Transaction) -> Sandbox:
        now = lease_time(tx, self._clock)
        if not tx.images.get(image.id).usable:
            raise Conflict(f"image {image.name} is being removed")
        wanted = replace(
            sandbox,
            desired_state=DesiredState.DESTROYED,
            attempts=0,
            retry_at=None,
            reason_code=Ending.IMAGED,
            reason_message=f"its disk is kept as image {image.name}",
            updated_at=now,
        )
        return put(tx, sandbox, wanted, evidence={"image_id": image.id, "digest": image.digest})


def _standing(sandbox: Sandbox, name: str, tx: Transaction) -> _Standing:
    volumes, images = tx.volumes.of_sandbox(sandbox), tx.images.all()
    here = [image for image in images if image.source_host_id == sandbox.host_id]
    made = [
        image
        for image in here
        if image.source_volume == name and image.state is not ImageState.REMOVING
    ]
    newest = max(made, key=lambda one: (one.created_at, one.id), default=None)
    fetched = {image.source_volume for image in here if image.state is ImageState.FETCHING}
    return _Standing(
        live=layers.live(volumes),
        flat=next((volume for volume in volumes if volume.name == name), None),
        image=newest,
        refused=sum(image.state is ImageState.REFUSED for image in made),
        twin=_twin(newest, images),
        former=tuple(
            volume
            for volume in volumes
            if volume.role is VolumeRole.DISK and volume.name != name and volume.name not in fetched
        ),
    )


def _twin(image: Image | None, images: Collection[Image]) -> Image | None:
    """Return the image whose twin one was refused as; only such a refusal tells its digest."""
    if image is None or image.state is not ImageState.REFUSED or image.digest is None:
        return None
    return next((one for one in images if one.usable and one.digest == image.digest), None)


def _disk_of(sandbox: Sandbox, standing: _Standing) -> Volume:
    """Return the layer from which all of the disk is read; refused rather than guessed."""
    if standing.live is None:
        raise HostRefused(
            f"no disk of {sandbox.sandbox_name} is listed on its host",
            remedy="it is kept as it is; look at its volumes on the host",
        )
    return standing.live


def _again(sandbox: Sandbox, standing: _Standing) -> bool:
    """Return whether every refusal was recorded as a failure, so that this is a new attempt."""
    return sandbox.attempts >= standing.refused
