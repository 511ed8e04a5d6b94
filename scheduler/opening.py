"""What may take minutes at the start: the supervisor is told of it, and a wish to stop is heeded.

Checking, copying and upgrading a large database takes longer than any supervisor waits by itself;
one that was killed in it would begin anew, and never come to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

from scheduler.clock import Clock
from scheduler.notify import Notifier

T = TypeVar("T")

AGAIN_SECONDS = 15.0
"""How often the supervisor is asked for more time."""
MORE_SECONDS = 90.0
"""How much of it: several words may get lost, and a process that is gone is soon noticed."""


@asynccontextmanager
async def patiently(
    opening: AbstractAsyncContextManager[T], what: str, *, notifier: Notifier, clock: Clock
) -> AsyncIterator[T]:
    """Enter `opening` however long it takes, and have the supervisor wait for as long."""
    async with AsyncExitStack() as stack:
        asking = asyncio.create_task(_ask(what, notifier, clock), name="asking for time")
        try:
            opened = await stack.enter_async_context(opening)
        finally:
            asking.cancel()
            await asyncio.wait({asking})
        yield opened


async def _ask(what: str, notifier: Notifier, clock: Clock) -> None:
    begun = clock.monotonic()
    while True:
        taken = round(clock.monotonic() - begun)
        notifier.extend(MORE_SECONDS, f"{what} ({taken} s so far)")
        await clock.wait(asyncio.Event(), AGAIN_SECONDS)


async def unless(
    stop: asyncio.Event, work: Coroutine[Any, Any, T], *, told: Callable[[], None]
) -> T | None:
    """Await `work`; once `stop` is set, say so by `told`, cancel the work and return None.

    What has to come to its end within the work does so first.
    """
    try:
        async with asyncio.timeout(None) as patience:
            heeding = asyncio.create_task(_heed(stop, patience, told), name="heeding")
            try:
                return await work
            finally:
                heeding.cancel()
    except TimeoutError:
        if patience.expired():
            return None
        raise


async def _heed(stop: asyncio.Event, patience: asyncio.Timeout, told: Callable[[], None]) -> None:
    await stop.wait()
    told()
    patience.reschedule(asyncio.get_running_loop().time())
