"""Small files named by the SHA-256 of what they hold, compressed, in one private directory.

A file is written whole beside its place, synced and renamed, so its name never lies: and whoever
reads it checks that again, because disks do lie. Who keeps or claims a file marks it as of now, and
that and its removal exclude each other, so that nothing goes which somebody was just promised.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock

from scheduler.durable import sync
from scheduler.statedir import on_disk

MOST_BYTES = 512 << 20
"""What one file may hold; reading stops there."""
PART_BYTES = 1 << 20
"""What is unpacked at once where nobody needs the whole."""
_NAME = re.compile(r"[0-9a-f]{64}")
_LEVEL = 1
"""Digests do not get smaller, and the rest does at once."""


class KeptFiles:
    """The directory; every method blocks, and is called on a thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._marking = Lock()
        """Held for as long as marking or removing one file takes, never while one is written."""

    def keep(self, content: bytes) -> str:
        """Have a content kept, and return what it is kept under; raises `Unavailable`."""
        name = sha256(content).hexdigest()
        if self.claim(name):
            return name
        with on_disk(f"{self._directory} cannot be written"):
            self._write(self._path(name), zlib.compress(content, _LEVEL))
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

    def parts(self, name: str) -> Iterator[bytes]:
        """Yield a content piece by piece, unchecked; one that is damaged ends there."""
        unpacker = zlib.decompressobj()
        with suppress(OSError, zlib.error), self._path(name).open("rb") as file:
            while packed := unpacker.unconsumed_tail or file.read(PART_BYTES):
                yield unpacker.decompress(packed, PART_BYTES)
            yield unpacker.flush()

    def holds(self, name: str) -> bool:
        """Return whether a content is kept."""
        return bool(_NAME.fullmatch(name)) and self._path(name).exists()

    def claim(self, name: str) -> bool:
        """Return whether a content is kept; from now on it is spared for as long as a new one."""
        with self._marking:
            if not self.holds(name):
                return False
            os.utime(self._path(name))
            return True

    def total_bytes(self) -> int:
        """Return how much room the files take."""
        return sum(looked.st_size for _, looked in self._files())

    def untouched(self, *, before: float) -> dict[str, Path]:
        """Return what nobody kept or claimed since a Unix time, by name."""
        return {path.name: path for path, looked in self._files() if looked.st_mtime < before}

    def remove(self, paths: Iterable[Path], *, before: float) -> int:
        """Remove those of these that nobody has kept or claimed since; return how many."""
        return sum(self._removed(path, before) for path in paths)

    def _removed(self, path: Path, before: float) -> bool:
        with self._marking:
            looked = _look(path)
            if looked is None or looked.st_mtime >= before:
                return False
            path.unlink()
            return True

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in sorted(self._directory.glob("??/*")):
            if (looked := _look(path)) is not None:
                yield path, looked

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
        sync(path.parent)


def _look(path: Path) -> os.stat_result | None:
    """Look at a file; None when it has gone meanwhile."""
    with suppress(FileNotFoundError):
        return path.stat()
    return None


def _unpacked(packed: bytes) -> bytes | None:
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(packed, MOST_BYTES)
    except zlib.error:
        return None
    return content if unpacker.eof else None
