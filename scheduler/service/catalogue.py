"""The images that may be built from, in memory, and how fast copies of them are.

It is a copy made for speed and never the truth: the unit that records a sandbox asks the store
again. Placement is told what a copy would take, so that a decision can say so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from scheduler.hosts.image_files import ImageFiles
from scheduler.model import Image
from scheduler.service.terms import Terms
from scheduler.store import Store

_MIB = 2**20
_LATEST_WEIGHS = 0.3


class Catalogue:
    """Usable images by digest, id and name; belongs to the event loop's thread."""

    def __init__(self, store: Store, *, expected_mib_per_second: float = 40.0) -> None:
        self._store = store
        self._images: dict[str, Image] = {}
        self._bytes_per_second = expected_mib_per_second * _MIB

    async def load(self) -> None:
        """Read every image from the store."""
        images = await self._store.read(lambda tx: tx.images.readable())
        self._images = {image.id: image for image in images if image.usable}

    def put(self, image: Image) -> None:
        """Take over an image as it was just committed."""
        if image.usable:
            self._images[image.id] = image
        else:
            self._images.pop(image.id, None)

    def find(self, reference: str) -> Image | None:
        """Return the image of this digest, id or name, in that order; None for a pool's volume."""
        images = self._images.values()
        named = next((image for image in images if image.digest == reference), None)
        named = named or self._images.get(reference)
        return named or next((image for image in images if image.name == reference), None)

    def copied(self, size_bytes: int, seconds: float) -> None:
        """Learn from a copy that was made."""
        if seconds > 0:
            rate = size_bytes / seconds
            self._bytes_per_second += _LATEST_WEIGHS * (rate - self._bytes_per_second)

    def transfer_seconds(self, image: Image) -> float:
        """Return how long a copy to a host is expected to take."""
        return round(image.size_bytes / self._bytes_per_second, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """What loops and services about images have in common."""

    files: ImageFiles
    catalogue: Catalogue

    @classmethod
    @asynccontextmanager
    async def open(cls, state_dir: Path, store: Store, terms: Terms) -> AsyncIterator[Self]:
        """Yield the images kept under the state directory, those of the store known by name."""
        catalogue = Catalogue(store, expected_mib_per_second=terms.expected_mib_per_second)
        await catalogue.load()
        files = ImageFiles(state_dir / "images")
        try:
            yield cls(files=files, catalogue=catalogue)
        finally:
            files.close()
