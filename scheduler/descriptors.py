"""When file descriptors run out: the event loop waits a second and tries again; this tells of it.

Left to itself it would log every failed attempt, which fills the disk while nothing else is wrong.
"""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import structlog

from scheduler.clock import Clock

QUIET_SECONDS = 60.0
"""A shortage is over when nothing has failed for this long; the next one is told again."""
_SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_log = structlog.get_logger("scheduler.descriptors")


class Shortage:
    """Takes what the event loop would log; `handle` is its exception handler."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_at: float | None = None

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Tell of a shortage once, and of everything else as the event loop does by default."""
        error = context.get("exception")
        if "socket" not in context or getattr(error, "errno", None) not in _SCARCE:
            loop.default_exception_handler(context)
            return
        now = self._clock.monotonic()
        before, self._last_at = self._last_at, now
        if before is None or now - before > QUIET_SECONDS:
            _log.error(
                "new connections wait: nothing is left to accept them with",
                error=str(error),
                remedy="raise LimitNOFILE of the unit; see who holds them: ls -l /proc/PID/fd",
            )
