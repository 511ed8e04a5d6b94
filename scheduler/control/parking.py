"""Bulkheads: what fails while working on one host or one sandbox costs that item only.

A fault the outside world may have is retried with growing pauses; a bug is told loudly, with its
traceback, and its item waits longest. Nothing here is remembered across a restart: recovery then
simply tries again.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 60.0
LONGEST_FOR_BUGS_SECONDS = 3600.0


@dataclass(slots=True)
class _Parked:
    failures: int = 0


class Parking:
    """How often each item has failed in a row, and how long it waits for that."""

    def __init__(self) -> None:
        self._items: dict[str, _Parked] = {}

    def failed(self, key: str, *, bug: bool = False) -> float:
        """Count a failure of `key` and return the seconds to wait before the next attempt."""
        item = self._items.setdefault(key, _Parked())
        item.failures += 1
        longest = LONGEST_FOR_BUGS_SECONDS if bug else LONGEST_SECONDS
        pause = min(longest, FIRST_SECONDS * 2.0 ** min(item.failures - 1, 16))
        return pause * (0.5 + _spread(key, item.failures) / 2)

    def succeeded(self, key: str) -> None:
        """Forget the failures of `key`."""
        self._items.pop(key, None)

    def failures(self, key: str) -> int:
        """Return how often `key` has failed in a row."""
        item = self._items.get(key)
        return item.failures if item else 0

    def __len__(self) -> int:
        return len(self._items)


def _spread(key: str, failures: int) -> float:
    """Return a share in [0, 1) that differs by key and attempt, so that retries do not march."""
    return crc32(f"{key}/{failures}".encode()) / 2**32
