"""Images: take in, look, spread, remove. A request is done when its intent is durable.

What arrives is written to the spool and believed by nobody: a loop checks it before it may be
built from. Nothing is removed that a live sandbox was made from, and the refusal names those.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime
from functools import partial

from scheduler import ids
from scheduler.clock import Clock
from scheduler.errors import Conflict, Invalid, NotFound, Unavailable
from scheduler.hosts.image_files import ImageFiles
from scheduler.model import (
    Event,
    HostState,
    Image,
    ImageState,
    Replica,
    ReplicaState,
)
from scheduler.model.images import MIB, replica_volume
from scheduler.service.catalogue import Shelf
from scheduler.service.image_reports import ImageReport, check_unused, report_of, settled
from scheduler.service.intents import Intent
from scheduler.service.journal import Journal
from scheduler.service.requests import PrefetchImage, TakeImage
from scheduler.service.terms import Terms
from scheduler.store import ImageFilter, ListOptions, Page, Store, Transaction


class ImageService:
    """What operators do with images; `wake` tells the loops of an image or `image/host`."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        terms: Terms,
        shelf: Shelf | None,
        *,
        journal: Journal,
        wake: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._terms = terms
        self._shelf = shelf
        self._journal = journal
        self._wake = wake

    async def take(self, request: TakeImage, intent: Intent[ImageReport]) -> ImageReport:
        """Record an image that is to arrive; the same one again is the one that is there.

        Raises `AlreadyExists` for a name in use, `Invalid` for one that is too large, `NotFound`
        for an unknown host.
        """
        size = request.size_bytes or 0
        if size > self._terms.max_image_mb * MIB:
            raise Invalid(
                f"this daemon takes in images of at most {self._terms.max_image_mb} MiB",
                remedy="make it smaller, or have images.max_size_mb raised",
                details={"size_bytes": f"more than {self._terms.max_image_mb} MiB"},
            )
        taken = await self._store.submit(intent.once(partial(self._record, request, intent.actor)))
        self._committed(taken.id)
        return taken

    async def receive(
        self, reference: str, offset: int, chunks: AsyncIterator[bytes]
    ) -> ImageReport:
        """Add what arrives to an image; once it is whole it is checked.

        What came before a connection broke stays. Raises `Conflict` for an image that is not being
        uploaded or has another number of bytes already.
        """
        image = await self._store.read(lambda tx: tx.images.by_reference(reference))
        if image.state is not ImageState.RECEIVING:
            raise Conflict(
                f"image {image.name} is {image.state}: nothing more is to be uploaded",
                remedy="look at it: sandboxctl image show",
                details={"state": image.state.value},
            )
        there = await self._files.receive(image.id, chunks, offset=offset, size=image.size_bytes)
        if there == image.size_bytes:
            await self._store.submit(partial(self._arrived, image))
            self._committed(image.id)
        return await self.get(image.id)

    async def get(self, reference: str) -> ImageReport:
        """Return an image by digest, id or name; raises `NotFound`."""
        return await self._store.read(
            lambda tx: self._report(tx, tx.images.by_reference(reference))
        )

    async def find(self, wanted: ImageFilter, options: ListOptions) -> Page[ImageReport]:
        """Return a page of images."""

        def unit(tx: Transaction) -> Page[ImageReport]:
            page = tx.images.find(wanted, options)
            items = tuple(self._report(tx, image) for image in page.items)
            return Page(items=items, next_cursor=page.next_cursor)

        return await self._store.read(unit)

    async def wait(self, reference: str, seconds: float) -> ImageReport:
        """Return the image once it is settled with its replicas, or when `seconds` are over."""
        return await self._journal.until(lambda: self.get(reference), settled, seconds)

    async def removable(self, reference: str) -> ImageReport:
        """Return what removing would remove, refusing as it would."""

        def unit(tx: Transaction) -> ImageReport:
            image = tx.images.by_reference(reference)
            check_unused(tx, image)
            return self._report(tx, image)

        return await self._store.read(unit)

    async def remove(self, reference: str, intent: Intent[ImageReport]) -> ImageReport:
        """Wish an image gone, with every replica; `Conflict` names the sandboxes made from it."""
        report = await self._store.submit(partial(self._condemn, reference, intent.actor))
        image = await self._store.read(lambda tx: tx.images.get(report.id))
        if self._shelf is not None:
            self._shelf.catalogue.put(image)
        self._committed(image.id)
        for replica in await self._store.read(lambda tx: tx.replicas.of_image(image.id)):
            self._wake(replica_key(replica))
        return report

    async def prefetch(
        self, reference: str, request: PrefetchImage, intent: Intent[ImageReport]
    ) -> ImageReport:
        """Have hosts hold an image before anybody asks for it, until it is evicted there."""
        report = await self._store.submit(
            intent.once(partial(self._want, reference, request, intent.actor))
        )
        for replica in await self._store.read(lambda tx: tx.replicas.of_image(report.id)):
            self._wake(replica_key(replica))
        self._journal.poke()
        return report

    async def evict(self, reference: str, host: str, intent: Intent[ImageReport]) -> ImageReport:
        """Have one host hold an image no longer; `Conflict` names the sandboxes that use it."""
        report = await self._store.submit(partial(self._evict, reference, host, intent.actor))
        for replica in await self._store.read(lambda tx: tx.replicas.of_image(report.id)):
            self._wake(replica_key(replica))
        self._journal.poke()
        return report

    @property
    def _files(self) -> ImageFiles:
        if self._shelf is None:
            raise Unavailable("this daemon keeps no images", remedy="give it a state directory")
        return self._shelf.files

    def _record(self, request: TakeImage, actor: str, tx: Transaction) -> ImageReport:
        now = self._clock.now()
        there = _of_name(tx, request.name)
        if there is not None and request.digest is not None and there.digest == request.digest:
            return self._report(tx, there)
        host = None if request.host is None else tx.hosts.by_name(request.host)
        image = Image(
            id=ids.new_id(ids.Prefix.IMAGE),
            name=request.name,
            digest=request.digest,
            state=ImageState.RECEIVING if host is None else ImageState.FETCHING,
            size_bytes=request.size_bytes or 0,
            source_host_id=None if host is None else host.id,
            source_volume=request.volume,
            actor=actor,
            created_at=now,
            updated_at=now,
        )
        tx.images.add(image)
        whence = "an upload" if host is None else f"{request.volume} on {host.name}"
        tx.events.add(image_event("image.taken", image, f"from {whence}", at=now, actor=actor))
        return self._report(tx, image)

    def _arrived(self, image: Image, tx: Transaction) -> Image:
        now = self._clock.now()
        wanted = replace(image, state=ImageState.CHECKING, updated_at=now)
        arrived = tx.images.replace(wanted, expected=ImageState.RECEIVING)
        tx.events.add(image_event("image.arrived", image, "all of it is here", at=now))
        return arrived

    def _condemn(self, reference: str, actor: str, tx: Transaction) -> ImageReport:
        now = self._clock.now()
        image = tx.images.by_reference(reference)
        if image.state is not ImageState.REMOVING:
            check_unused(tx, image)
            gone = tx.images.replace(given_up(image, now=now), expected=image.state)
            for replica in tx.replicas.of_image(image.id):
                tx.replicas.replace(
                    replace(
                        replica,
                        state=ReplicaState.REMOVING,
                        attempts=0,
                        retry_at=None,
                        updated_at=now,
                    )
                )
            tx.events.add(
                image_event("image.remove_requested", image, "requested", at=now, actor=actor)
            )
            image = gone
        return self._report(tx, image)

    def _want(
        self, reference: str, request: PrefetchImage, actor: str, tx: Transaction
    ) -> ImageReport:
        now = self._clock.now()
        image = tx.images.by_reference(reference)
        if not image.usable:
            raise Conflict(
                f"image {image.name} is {image.state}, so no host can be given it",
                remedy="wait until it is READY: sandboxctl image show",
                details={"state": image.state.value},
            )
        hosts = [tx.hosts.by_name(name) for name in request.hosts] or [
            host for host in tx.hosts.all() if host.state is HostState.ACTIVE
        ]
        selector = request.host_selector.items()
        for host in hosts:
            if selector <= host.labels.items():
                want_replica(tx, image, host.id, host.pool, now=now, pinned=True)
        tx.events.add(
            image_event("image.prefetch_requested", image, "requested", at=now, actor=actor)
        )
        return self._report(tx, image)

    def _evict(self, reference: str, host: str, actor: str, tx: Transaction) -> ImageReport:
        now = self._clock.now()
        image, there = tx.images.by_reference(reference), tx.hosts.by_name(host)
        replica = tx.replicas.get(image.id, there.id)
        if replica is None:
            raise NotFound(
                f"host {host} holds no replica of image {image.name}",
                remedy="which hosts do: sandboxctl image show",
            )
        check_unused(tx, image, there.id)
        tx.replicas.replace(condemned(replica, now=now))
        tx.events.add(
            image_event(
                "image.evict_requested", image, f"from {host}", at=now, actor=actor, host=there.id
            )
        )
        return self._report(tx, image)

    def _report(self, tx: Transaction, image: Image) -> ImageReport:
        return report_of(tx, image, self._received(image))

    def _received(self, image: Image) -> int:
        if image.state not in (ImageState.RECEIVING, ImageState.FETCHING):
            return image.size_bytes
        return 0 if self._shelf is None else self._shelf.files.received(image.id)

    def _committed(self, image_id: str) -> None:
        self._journal.poke()
        self._wake(image_id)


def replica_key(replica: Replica) -> str:
    """Return under which name the loops work on a replica."""
    return f"{replica.image_id}/{replica.host_id}"


def want_replica(
    tx: Transaction, image: Image, host_id: str, pool: str, *, now: datetime, pinned: bool = False
) -> Replica:
    """Have a host hold an image: record the wish, unless it holds or gets it already."""
    there = tx.replicas.get(image.id, host_id)
    if there is None:
        fresh = Replica(
            image_id=image.id,
            host_id=host_id,
            pool=pool,
            volume=replica_volume(image.digest or ""),
            pinned=pinned,
            used_at=now,
            created_at=now,
            updated_at=now,
        )
        return tx.replicas.add(fresh)
    if there.state is ReplicaState.REMOVING:
        there = replace(there, state=ReplicaState.WANTED, attempts=0, retry_at=None)
    elif there.pinned or not pinned:
        return there
    return tx.replicas.replace(
        replace(there, pinned=there.pinned or pinned, used_at=now, updated_at=now)
    )


def given_up(image: Image, *, now: datetime) -> Image:
    """Return an image that is to go; what it only claimed to be is another's name from now on.

    So is the name of one that was refused: another may have it by now.
    """
    refused = image.state is ImageState.REFUSED
    return replace(
        image,
        name=image.id.lower() if refused else image.name,
        state=ImageState.REMOVING,
        digest=image.own_digest,
        updated_at=now,
    )


def condemned(replica: Replica, *, now: datetime) -> Replica:
    """Return a replica that is to go."""
    return replace(
        replica,
        state=ReplicaState.REMOVING,
        pinned=False,
        attempts=0,
        reason=None,
        retry_at=None,
        updated_at=now,
    )


def image_event(
    kind: str,
    image: Image,
    message: str,
    *,
    at: datetime,
    actor: str = "system",
    host: str | None = None,
) -> Event:
    """Return an entry of the journal about an image."""
    return Event(
        at=at,
        kind=kind,
        actor=actor,
        host_id=host,
        reason_code=image.state.value.lower(),
        message=f"image {image.name}: {message}",
        evidence={"image_id": image.id, "name": image.name, "digest": image.digest},
    )


def _of_name(tx: Transaction, name: str) -> Image | None:
    try:
        found = tx.images.by_reference(name)
    except NotFound:
        return None
    return found if found.name == name else None
