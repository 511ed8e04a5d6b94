"""A world with images: bytes made by qemu-img, taken in and brought to hosts in memory."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from scheduler.control.ingestor import Ingestor
from scheduler.control.replicas import Standing
from scheduler.control.replicator import Replicator
from scheduler.model import Image, Replica, ReplicaState
from scheduler.model.images import replica_volume
from scheduler.service.image_reports import ImageReport
from scheduler.service.intents import Intent
from scheduler.service.requests import PrefetchImage, TakeImage
from tests.control.world import ME, World
from tests.hosts import images
from tests.hosts.fake import FakeDriver

NAME = "golden"


@cache
def content(size_mb: int = 16) -> bytes:
    """Return the bytes of a sound image, the same for all tests."""
    with TemporaryDirectory() as directory:
        return images.sound(Path(directory) / "image", size_mb).read_bytes()


def digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 100_000):
        yield body[start : start + 100_000]


class Imagery:
    """What tests do with the images of a world, its loops taken step by step."""

    def __init__(self, world: World, *, most_virtual_bytes: int = 2**40) -> None:
        self.world = world
        self.copied: list[int] = []
        shelf = world.shelf
        self.ingestor = Ingestor(
            world.store,
            world.clock,
            drivers=world.drivers.get,
            files=shelf.files,
            changed=shelf.catalogue.put,
            most_bytes=2**30,
            most_virtual_bytes=most_virtual_bytes,
        )
        self.replicator = self.fresh_replicator()

    def fresh_replicator(self) -> Replicator:
        """Return a replicator as a restarted daemon has it."""

        async def moved(standing: Standing) -> None:
            await self.world.fleet.reread_image(standing.image.id)

        return Replicator(
            self.world.replicas,
            self.world.clock,
            drivers=self.world.drivers.get,
            files=self.world.shelf.files,
            moved=moved,
            measured=lambda size, _seconds: self.copied.append(size),
        )

    async def take(self, name: str = NAME, body: bytes | None = None) -> ImageReport:
        """Announce and send an image; nobody has looked at it yet."""
        body = content() if body is None else body
        wanted = TakeImage(name=name, digest=digest_of(body), size_bytes=len(body))
        taken = await self.world.services.images.take(wanted, Intent(actor=ME))
        if taken.received_bytes < len(body):
            await self.world.services.images.receive(taken.id, 0, chunks(body))
        return await self.world.services.images.get(taken.id)

    async def ready(self, name: str = NAME, body: bytes | None = None) -> Image:
        """Take an image in."""
        taken = await self.take(name, body)
        assert await self.ingestor.ingest(taken.id) is None
        image = await self.world.store.read(lambda tx: tx.images.get(taken.id))
        assert image.usable, image
        return image

    async def prefetch(self, image: Image, *hosts: str) -> None:
        await self.world.services.images.prefetch(
            image.id, PrefetchImage(hosts=list(hosts)), Intent(actor=ME)
        )

    async def replicate(self, image: Image, host: str = "alpha") -> float | None:
        """Take one replica one turn further."""
        there = await self.world.host(host)
        return await self.replicator.replicate(f"{image.id}/{there.id}")

    async def replica(self, image: Image, host: str = "alpha") -> Replica | None:
        there = await self.world.host(host)
        return await self.world.store.read(lambda tx: tx.replicas.get(image.id, there.id))

    async def state(self, image: Image, host: str = "alpha") -> ReplicaState | None:
        found = await self.replica(image, host)
        return None if found is None else found.state

    def held(self, driver: FakeDriver, image: Image) -> bytes | None:
        """Return what a host's pool has under the image's name."""
        found = driver.host.contents.get(replica_volume(image.digest or ""))
        return None if found is None else bytes(found)
