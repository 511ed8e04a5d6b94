"""Rows that cannot be read, met by whoever reads many: told once each, and passed over.

One such row must not keep the loops from all others. What is noted here is in memory: a restarted
daemon meets the same rows again.
"""

from __future__ import annotations

from threading import Lock
from typing import Any

import structlog

from scheduler.errors import Unreadable
from scheduler.store.mapping import Mapper

MOST = 1000

Key = tuple[Any, ...]

_log = structlog.get_logger("scheduler.store")


class UnreadableRows:
    """The rows that were passed over; readers note them from threads of their own."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._noted: dict[tuple[str, Key], tuple[Mapper[Any], Unreadable]] = {}

    def note(self, mapper: Mapper[Any], error: Unreadable) -> None:
        """Tell of a row that is passed over, the first time it is met."""
        place = (mapper.table.name, error.key)
        with self._lock:
            if place in self._noted or len(self._noted) >= MOST:
                return
            self._noted[place] = mapper, error
        _log.error("unreadable row", table=place[0], key=error.key, error=error.message)

    def noted(self) -> tuple[tuple[Mapper[Any], Unreadable], ...]:
        """Return all of them, those included that were mended or removed since."""
        with self._lock:
            return tuple(self._noted.values())

    def mended(self, mapper: Mapper[Any], key: Key) -> None:
        """Drop one: when it cannot be read again, it is told again."""
        with self._lock:
            self._noted.pop((mapper.table.name, key), None)
