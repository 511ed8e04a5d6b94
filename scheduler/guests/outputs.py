"""What a command writes: two streams, each kept up to a limit and counted to the last byte."""

from __future__ import annotations

from enum import StrEnum

OUTPUT_BYTES = 1 << 20
"""What is kept of a stream unless somebody says otherwise."""


class Stream(StrEnum):
    """Which of the two streams a piece of output belongs to."""

    STDOUT = "stdout"
    STDERR = "stderr"


class Bounded:
    """The beginning of a stream, and how long all of it was."""

    __slots__ = ("_kept", "_limit", "total_bytes")

    def __init__(self, limit_bytes: int = OUTPUT_BYTES) -> None:
        self._kept = bytearray()
        self._limit = limit_bytes
        self.total_bytes = 0

    def take(self, data: bytes) -> None:
        """Count the data, and keep as much of it as there is room for."""
        self.total_bytes += len(data)
        room = self._limit - len(self._kept)
        if room > 0:
            self._kept += data[:room]

    @property
    def kept(self) -> bytes:
        """What was kept."""
        return bytes(self._kept)

    def part(self, offset: int, most: int | None = None) -> bytes:
        """Return what was kept from an offset on, at most so much of it."""
        end = len(self._kept) if most is None else offset + most
        return bytes(self._kept[offset:end])

    @property
    def kept_bytes(self) -> int:
        """Return how much was kept."""
        return len(self._kept)

    @property
    def truncated(self) -> bool:
        """Return whether anything was left out."""
        return self.total_bytes > len(self._kept)
