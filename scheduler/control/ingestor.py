"""Takes images in and lets them go on the control node's side: one item is one image.

What arrived is hashed, passed through the gate and only then moved into the store; each step may be
repeated, so an image whose check a crash cut short is simply checked again. A volume is read from
its host with the mark of what it looked like before compared after: a file that changes meanwhile
is nobody's golden image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from scheduler.clock import Clock
from scheduler.control.freezer import Freezer, copies_of
from scheduler.control.source_places import origin_of
from scheduler.errors import (
    AlreadyExists,
    Conflict,
    HostRefused,
    HostTimeout,
    NotFound,
    SandboxdError,
    Unavailable,
)
from scheduler.hosts import ObjectBusy
from scheduler.hosts.driver import HostDriver
from scheduler.hosts.image_files import ImageFiles
from scheduler.hosts.image_gate import Judged
from scheduler.model import HostResources, Image, ImageState
from scheduler.model.images import MIB
from scheduler.service.images import image_event
from scheduler.store import Store, Transaction

PART_BYTES = 8 * 2**20
AGAIN_SECONDS = 5.0
_TAKEN_IN = (ImageState.FREEZING, ImageState.FETCHING, ImageState.CHECKING)


class Ingestor:
    """Works on one image at a time; `Workers` sees to it that nobody else does."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        drivers: Callable[[HostResources], HostDriver],
        files: ImageFiles,
        changed: Callable[[Image], None],
        most_bytes: int,
        most_virtual_bytes: int,
    ) -> None:
        self._freezer = Freezer(store, clock, drivers=drivers)
        self._store = store
        self._clock = clock
        self._drivers = drivers
        self._files = files
        self._changed = changed
        self._most_bytes = most_bytes
        self._most_virtual_bytes = most_virtual_bytes

    async def ingest(self, image_id: str) -> float | None:
        """Take an image further; return the seconds after which to go on, None when it rests."""
        try:
            image = await self._store.read(lambda tx: tx.images.get(image_id))
        except NotFound:
            return None
        try:
            if image.state is ImageState.FREEZING:
                image = await self._freezer.freeze(image)
            if image.state is ImageState.FETCHING:
                await self._fetch(image)
            elif image.state is ImageState.CHECKING:
                await self._check(image)
            elif image.state is ImageState.REMOVING:
                return await self._remove(image)
        except (Unavailable, HostRefused, AlreadyExists) as error:
            troubled = isinstance(error, Unavailable | ObjectBusy)
            if troubled or image.state is ImageState.REMOVING:
                # A machine's trouble, not the image's: whoever waits for it is told.
                await self._store.submit(partial(self._hold, image, error.message))
                raise
            if not await self._refuse(image, error):
                return 0.0
        except Conflict:
            return 0.0  # its owner changed their mind
        await self._freezer.clear(image)
        return None

    async def pending(self) -> tuple[str, ...]:
        """Return the ids of the images that have work to do."""
        return await self._store.read(_busy)

    async def _fetch(self, image: Image) -> None:
        """Read a volume from its host; a copy that was cut short is begun anew."""
        host = await self._store.read(partial(origin_of, image))
        driver, volume = self._drivers(host), image.source_volume or ""
        try:
            before = await driver.inspect_base(volume)
            await _check_idle(driver, volume, host)
            await self._files.begin(image.id)
            size = await self._read(image, driver, volume)
            after = await driver.inspect_base(volume)
            await _check_idle(driver, volume, host)
        except HostTimeout as error:
            raise Unavailable(error.message, remedy=error.remedy) from error
        if before.fingerprint != after.fingerprint:
            raise HostRefused(
                f"volume {volume} of {host.name} changed while it was read",
                remedy="stop whoever writes to it, and take it in again",
            )
        arrived = replace(
            image,
            state=ImageState.CHECKING,
            size_bytes=size,
            reason=None,
            updated_at=self._clock.now(),
        )
        await self._become(image, arrived, "all of it is here")
        await self._check(arrived)

    async def _read(self, image: Image, driver: HostDriver, volume: str) -> int:
        offset = 0
        while True:
            content = await driver.read_volume(volume, offset, PART_BYTES)
            if content is None:
                raise HostRefused(
                    "a simulated host has no bytes to read", remedy="upload a file instead"
                )
            offset += len(content)
            if offset > self._most_bytes:
                raise HostRefused(f"the volume is larger than {self._most_bytes // MIB} MiB")
            await self._files.append(image.id, content)
            if len(content) < PART_BYTES:
                return offset

    async def _check(self, image: Image) -> None:
        """Hash and judge what arrived, then trust it."""
        there = image.digest is not None and await self._files.holds(image.digest)
        if not there or self._files.received(image.id):
            digest = await self._files.digest(image.id)
            if image.digest not in (None, digest):
                raise HostRefused(
                    f"what arrived adds up to {digest}, not to {image.digest}",
                    remedy="was the file changed meanwhile? upload it again",
                )
            judged = await self._files.judge(
                image.id, image.name, most_virtual_bytes=self._most_virtual_bytes
            )
            image = await self._store.submit(partial(self._judge, image, digest, judged))
            await self._files.keep(image.id, digest)
        ready = replace(image, state=ImageState.READY, reason=None, updated_at=self._clock.now())
        await self._become(image, ready, "it may be built from")

    def _judge(self, image: Image, digest: str, judged: Judged, tx: Transaction) -> Image:
        """Record what the gate found, before the file has its final name."""
        for other in tx.images.of_digest(digest):
            if other.id != image.id and other.own_digest == digest:
                raise AlreadyExists(
                    f"image {other.name} ({other.id}) has the same content",
                    details={"digest": digest},
                )
        found = replace(
            image,
            digest=digest,
            format=judged.format,
            virtual_bytes=judged.virtual_bytes,
            reason=None,
        )
        return tx.images.replace(found, expected=ImageState.CHECKING)

    async def _become(self, before: Image, after: Image, message: str) -> None:
        await self._store.submit(partial(self._write, before, after, message))
        self._changed(after)

    def _write(self, before: Image, after: Image, message: str, tx: Transaction) -> None:
        tx.images.replace(after, expected=before.state)
        kind = f"image.{after.state.value.lower()}"
        tx.events.add(image_event(kind, after, message, at=after.updated_at))

    def _hold(self, image: Image, message: str, tx: Transaction) -> None:
        current = tx.images.get(image.id)  # a turn may have written what this one did not read
        tx.images.replace(replace(current, reason=message), expected=image.state)

    async def _refuse(self, image: Image, error: SandboxdError) -> bool:
        """Say no to an image that is being taken in; return whether it still was.

        One that would be another's twin keeps its digest, so that who wanted it finds that one.
        """
        # It may have come further since this turn began, or its owner may want it gone.
        current = await self._store.read(lambda tx: tx.images.get(image.id))
        if current.state not in _TAKEN_IN:
            return False
        refused = replace(
            current,
            state=ImageState.REFUSED,
            digest=str(error.details.get("digest") or "") or current.digest,
            reason=error.message,
            updated_at=self._clock.now(),
        )
        await self._become(current, refused, error.message)
        await self._files.drop(image.id)
        return True

    async def _remove(self, image: Image) -> float | None:
        """Forget an image of which no host holds anything any more."""
        if await self._store.read(lambda tx: tx.replicas.of_image(image.id)):
            return AGAIN_SECONDS
        await self._freezer.clear(image)
        await self._files.drop(image.id)
        if image.digest is not None and not await self._shared(image):
            await self._files.remove(image.digest)
        await self._store.submit(partial(self._strike, image))
        self._changed(image)
        return None

    async def _shared(self, image: Image) -> bool:
        """Return whether the file is another image's too."""
        digest = image.digest or ""
        images = await self._store.read(lambda tx: tx.images.of_digest(digest))
        return any(one.id != image.id and one.own_digest == digest for one in images)

    def _strike(self, image: Image, tx: Transaction) -> None:
        tx.images.remove(image.id)
        tx.events.add(
            image_event("image.removed", image, "nothing is left of it", at=self._clock.now())
        )


def _busy(tx: Transaction) -> tuple[str, ...]:
    busy = (*_TAKEN_IN, ImageState.REMOVING)
    images = tx.images.readable()
    return tuple(one.id for one in images if one.state in busy or copies_of(tx, one))


async def _check_idle(driver: HostDriver, volume: str, host: HostResources) -> None:
    """Raise `HostRefused` while a machine runs on the volume: its disk would be torn."""
    users = await driver.users_of(volume)
    if users:
        named = ", ".join(name if name.isprintable() else repr(name) for name in users[:5])
        raise HostRefused(
            f"volume {volume} of {host.name} is the disk of a running machine: {named}",
            remedy="shut it down, and take the volume in again",
        )
