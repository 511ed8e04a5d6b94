"""How work in progress learns that its end is asked for: its record says so, and a nudge to look.

A look that the store refuses is taken again soon: who waits for an end must not wait for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from scheduler.clock import Clock
from scheduler.errors import SandboxdError

AGAIN_SECONDS = 1.0
"""How soon a look that was refused is taken again, unless a nudge comes first."""


async def until_asked(
    asked: Callable[[], Awaitable[bool]], nudged: asyncio.Event, clock: Clock
) -> None:
    """Return once the record says that the end is asked for; it is read after every nudge."""
    while True:
        # Before the look, so that a nudge during it leads to another one.
        nudged.clear()
        try:
            if await asked():
                return
        except SandboxdError:
            await clock.wait(nudged, AGAIN_SECONDS)
        else:
            await nudged.wait()
