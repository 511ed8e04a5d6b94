"""Small files named by the SHA-256 of what they hold, compressed, in one private directory.

A file is written whole beside its place, synced and renamed, so its name never lies: and whoever
reads it checks that again, because disks do lie.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Collection, Iterator
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile

from scheduler.errors import Unavailable

MOST_BYTES = 512 << 20
"""What one file may hold; reading stops there."""
_NAME = re.compile(r"[0-9a-f]{64}")
_LEVEL = 1
"""Digests do not get smaller, and the rest does at once."""


class KeptFiles:
    """The directory; every method blocks, and is called on a thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, content: bytes) -> str:
        """Have a content kept, and return what it is kept under; raises `Unavailable`."""
        name = sha256(content).hexdigest()
        path = self._path(name)
        if path.exists():
            os.utime(path)
            return name
        try:
            self._write(path, zlib.compress(content, _LEVEL))
        except OSError as error:
            raise Unavailable(
                f"{self._directory} cannot be written: {error.strerror or error}",
                remedy="look at the disk under the state directory: is it full or read-only?",
            ) from error
        return name

    def get(self, name: str) -> bytes | None:
        """Return a content; None when it is not kept, or not as it was."""
        if not _NAME.fullmatch(name):
            return None
        try:
            packed = self._path(name).read_bytes()
        except OSError:
            return None
        content = _unpacked(packed)
        if content is None or sha256(content).hexdigest() != name:
            return None
        return content

    def holds(self, name: str) -> bool:
        """Return whether a content is kept."""
        return bool(_NAME.fullmatch(name)) and self._path(name).exists()

    def total_bytes(self) -> int:
        """Return how much room the files take."""
        return sum(path.stat().st_size for path in self._files())

    def collect(self, wanted: Collection[str], *, before: float) -> int:
        """Remove what nobody wants and nobody touched since a Unix time; return how many."""
        removed = 0
        for path in self._files():
            if path.name not in wanted and path.stat().st_mtime < before:
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def _files(self) -> Iterator[Path]:
        yield from sorted(self._directory.glob("??/*"))

    def _path(self, name: str) -> Path:
        return self._directory / name[:2] / name

    @staticmethod
    def _write(path: Path, packed: bytes) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            try:
                file.write(packed)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).rename(path)
            except OSError:
                Path(file.name).unlink(missing_ok=True)
                raise
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _unpacked(packed: bytes) -> bytes | None:
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(packed, MOST_BYTES)
    except zlib.error:
        return None
    return content if unpacker.eof else None
