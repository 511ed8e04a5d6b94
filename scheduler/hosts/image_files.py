"""The control node's own copies of images: a spool for what arrives, a store for what is trusted.

A file in the spool is named after its image's id, one in the store after its digest; moving from
one to the other is a rename, so neither is ever half there. All work is done by few threads of its
own, in parts of bounded size: no image is ever held in memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from scheduler.durable import sync
from scheduler.errors import Conflict, Invalid
from scheduler.hosts.image_gate import Judged, judge_image
from scheduler.model.images import DIGEST_PREFIX
from scheduler.signs_of_life import bounded
from scheduler.statedir import on_disk

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

BLOCK_BYTES = 2**20
HASHED_BYTES = 2**28
"""So much is hashed at a time, so that a slow disk shows that it goes on."""
LONGEST_SECONDS = 300.0
"""How long a part of the work on an image may take; the gate alone takes up to four minutes."""
_THREADS = 4


class ImageFiles:
    """Files under one private directory; belongs to the event loop's thread."""

    def __init__(self, directory: Path) -> None:
        self._spool = directory / "spool"
        self._store = directory / "store"
        self._threads = ThreadPoolExecutor(_THREADS, "image-files")
        self._writing: set[str] = set()

    def close(self) -> None:
        """Let the threads end after what they are doing."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def path(self, digest: str) -> Path:
        """Return where a trusted image lies."""
        return self._store / digest.removeprefix(DIGEST_PREFIX)

    def received(self, image_id: str) -> int:
        """Return how many bytes of an image have arrived."""
        try:
            return self._part(image_id).stat().st_size
        except FileNotFoundError:
            return 0

    async def receive(
        self, image_id: str, chunks: AsyncIterator[bytes], *, offset: int, size: int
    ) -> int:
        """Append what arrives at `offset` and return how much is there then, durably.

        What came before a connection broke stays, for the next attempt to go on from. Raises
        `Conflict` for another offset or a second writer, `Invalid` beyond `size`, and
        `Unavailable` when it cannot be written.
        """
        with self._alone(image_id):
            there = self.received(image_id)
            if offset != there:
                raise Conflict(
                    f"{there} bytes of the image have arrived, not {offset}",
                    remedy="go on from there",
                    details={"received_bytes": there},
                )
            file = await self._do(_open_to_append, self._part(image_id))
            try:
                async for block in _blocks(chunks):
                    there += len(block)
                    if there > size:
                        raise Invalid(
                            f"more than the {size} bytes that were announced arrive",
                            remedy="announce the file's true size",
                            details={"size_bytes": "too small"},
                        )
                    await self._do(_write, file, block)
            finally:
                await self._do(_close, file)
        return there

    async def begin(self, image_id: str) -> None:
        """Have nothing of an image in the spool."""
        await self._do(_begin_anew, self._part(image_id))

    async def append(self, image_id: str, content: bytes) -> None:
        """Add what was read from a host."""
        await self._do(_append, self._part(image_id), content)

    async def digest(self, image_id: str) -> str:
        """Return the digest of what has arrived, having read it a part after the other."""
        path, hashed = self._part(image_id), hashlib.sha256()
        offset, more = 0, True
        while more:
            content_bytes = await self._do(_hash_part, path, hashed, offset)
            offset, more = offset + content_bytes, content_bytes == HASHED_BYTES
        return DIGEST_PREFIX + hashed.hexdigest()

    async def judge(self, image_id: str, name: str, *, most_virtual_bytes: int) -> Judged:
        """Pass what has arrived through the gate; see `judge_image`."""
        judge = partial(judge_image, most_virtual_bytes=most_virtual_bytes)
        return await self._do(judge, name, self._part(image_id))

    async def keep(self, image_id: str, digest: str) -> None:
        """Move a trusted image from the spool to the store; one that is there already is fine."""
        await self._do(_keep, self._part(image_id), self.path(digest))

    async def drop(self, image_id: str) -> None:
        """Remove what has arrived of an image."""
        await self._do(partial(Path.unlink, missing_ok=True), self._part(image_id))

    async def remove(self, digest: str) -> None:
        """Remove a trusted image."""
        await self._do(partial(Path.unlink, missing_ok=True), self.path(digest))

    async def holds(self, digest: str) -> bool:
        """Return whether a trusted image is in the store."""
        return await self._do(Path.exists, self.path(digest))

    async def read(self, digest: str, offset: int, length: int) -> bytes:
        """Return a part of a trusted image."""
        return await self._do(_read, self.path(digest), offset, length)

    def _part(self, image_id: str) -> Path:
        return self._spool / f"{image_id.lower()}.part"

    @contextmanager
    def _alone(self, image_id: str) -> Iterator[None]:
        if image_id in self._writing:
            raise Conflict(
                "somebody else is uploading this image",
                remedy="wait until they are done, or remove the image and begin anew",
            )
        self._writing.add(image_id)
        try:
            yield
        finally:
            self._writing.discard(image_id)

    async def _do(self, work: Callable[..., T], *arguments: object) -> T:
        loop = asyncio.get_running_loop()
        with on_disk("the image store cannot be used"), bounded(LONGEST_SECONDS):
            return await loop.run_in_executor(self._threads, partial(work, *arguments))


async def _blocks(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Gather what arrives into blocks; what came before the end, whatever ends it, is yielded."""
    block = bytearray()
    try:
        async for chunk in chunks:
            block += chunk
            if len(block) >= BLOCK_BYTES:
                yield bytes(block)
                block.clear()
    except Exception:  # a connection that broke
        if block:
            yield bytes(block)
        raise
    if block:
        yield bytes(block)


def _directory(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)


def _open_to_append(path: Path) -> int:
    _directory(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    file = os.open(path, flags, 0o644)
    # Within a private directory: the gate's jail is nobody, and must be able to read it.
    os.fchmod(file, 0o644)
    return file


def _write(file: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(file, view) :]


def _close(file: int) -> None:
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _begin_anew(path: Path) -> None:
    _directory(path)
    path.unlink(missing_ok=True)


def _append(path: Path, content: bytes) -> None:
    file = _open_to_append(path)
    try:
        _write(file, content)
    finally:
        _close(file)


def _hash_part(path: Path, hashed: hashlib._Hash, offset: int) -> int:
    """Hash a part of a file on; return how much that was."""
    left = HASHED_BYTES
    with path.open("rb") as file:
        file.seek(offset)
        while left and (block := file.read(min(left, BLOCK_BYTES))):
            hashed.update(block)
            left -= len(block)
    return HASHED_BYTES - left


def _keep(part: Path, kept: Path) -> None:
    _directory(kept)
    with suppress(FileNotFoundError):
        part.chmod(0o444)
        part.rename(kept)
    for directory in (kept.parent, part.parent):
        sync(directory)


def _read(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)
