"""Time stands still for as long as the loops wait for the store: virtual seconds cost no real ones.

Else a thread of the store's that the machine lets wait makes whole minutes pass for the loops, and
what they are to do within a second comes late for nothing they did.
"""

from __future__ import annotations

import asyncio

from scheduler.store import Store
from tests.waits import until

_TURNS = 5
"""Whoever had an answer of the store's has asked it for the next by then."""


async def at_rest(store: Store) -> None:
    """Let every other task run until none of them waits for the store."""
    quiet = 0

    def nobody_waits() -> bool:
        nonlocal quiet
        quiet = 0 if _is_asked(store) else quiet + 1
        return quiet > _TURNS

    await until(nobody_waits, what="a store that is asked for nothing")
    await asyncio.sleep(0)


def _is_asked(store: Store) -> bool:
    writer = store._writer
    return store._reading > 0 or (
        writer is not None and (bool(writer._waiting) or store._lock.locked())
    )
