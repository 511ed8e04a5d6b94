"""Waiting for a condition with a deadline: the only waiting that tests do.

Where no event loop runs, `tests.fleet.process.wait_until` does the same for processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

LOOK_EVERY_SECONDS = 0.02
# Far above what any condition needs: it tells a hang from a wait, not a slow machine from a fast.
DEADLINE_SECONDS = 180
# After so many turns another thread or process is waited for: leave it the interpreter.
_TURNS_AT_ONCE = 50


async def until(
    true: Callable[[], bool], *, seconds: float = DEADLINE_SECONDS, what: str = ""
) -> None:
    """Let other tasks run until `true()` holds; fails by TimeoutError after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            turns = 0
            while not true():
                turns += 1
                await asyncio.sleep(0 if turns < _TURNS_AT_ONCE else 0.001)
    except TimeoutError as error:
        raise TimeoutError(f"not within {seconds} s: {what or true}") from error


async def until_answer(
    true: Callable[[], Awaitable[bool]], *, seconds: float = DEADLINE_SECONDS, what: str = ""
) -> None:
    """Ask again until the answer is yes; fails by TimeoutError after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            while not await true():  # noqa: ASYNC110 - the answer comes from outside the process
                await asyncio.sleep(LOOK_EVERY_SECONDS)
    except TimeoutError as error:
        raise TimeoutError(f"not within {seconds} s: {what or true}") from error


@asynccontextmanager
async def repeated(work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Do a piece of work every moment while the block runs, as a loop of the daemon does.

    What it raises comes at the end of the block.
    """

    async def loop() -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            await work()

    task = asyncio.create_task(loop())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
