"""The control node's images in memory: what a disk's bytes become without threads or programs.

They outlive every daemon, as files do. The gate has its own tests: here each image is sound.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

from scheduler.hosts.image_files import ImageFiles
from scheduler.hosts.image_gate import Judged
from scheduler.model.images import DIGEST_PREFIX


class Spool(ImageFiles):
    """Files as values: by the image that they are of until they are kept, then by digest."""

    def __init__(self) -> None:
        self._arrived: dict[str, bytes] = {}
        self._kept: dict[str, bytes] = {}

    def close(self) -> None:
        """Keep everything: the next daemon finds it."""

    def received(self, image_id: str) -> int:
        return len(self._arrived.get(image_id, b""))

    async def receive(
        self, image_id: str, chunks: AsyncIterator[bytes], *, offset: int, size: int
    ) -> int:
        raise NotImplementedError("nobody uploads anything to the model")

    async def begin(self, image_id: str) -> None:
        self._arrived[image_id] = b""

    async def append(self, image_id: str, content: bytes) -> None:
        self._arrived[image_id] += content

    async def digest(self, image_id: str) -> str:
        return DIGEST_PREFIX + hashlib.sha256(self._arrived[image_id]).hexdigest()

    async def judge(self, image_id: str, name: str, *, most_virtual_bytes: int) -> Judged:
        return Judged(format="raw", virtual_bytes=len(self._arrived[image_id]))

    async def keep(self, image_id: str, digest: str) -> None:
        if image_id in self._arrived:
            self._kept[digest] = self._arrived.pop(image_id)

    async def drop(self, image_id: str) -> None:
        self._arrived.pop(image_id, None)

    async def remove(self, digest: str) -> None:
        self._kept.pop(digest, None)

    async def holds(self, digest: str) -> bool:
        return digest in self._kept

    async def read(self, digest: str, offset: int, length: int) -> bytes:
        return self._kept[digest][offset : offset + length]

    def kept(self) -> tuple[str, ...]:
        """Return the digests of what is kept, or being taken in."""
        return (*self._kept, *self._arrived)
