"""Waiting for a condition with a deadline: the only waiting that tests do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

LOOK_EVERY_SECONDS = 0.02


async def until(true: Callable[[], bool], *, seconds: float = 10, what: str = "") -> None:
    """Let other tasks run until `true()` holds; fails by TimeoutError after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            while not true():  # noqa: ASYNC110 - conditions of other threads and processes too
                await asyncio.sleep(0)
    except TimeoutError as error:
        raise TimeoutError(f"not within {seconds} s: {what or true}") from error


async def until_answer(
    true: Callable[[], Awaitable[bool]], *, seconds: float = 10, what: str = ""
) -> None:
    """Ask again until the answer is yes; fails by TimeoutError after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            while not await true():  # noqa: ASYNC110 - the answer comes from outside the process
                await asyncio.sleep(LOOK_EVERY_SECONDS)
    except TimeoutError as error:
        raise TimeoutError(f"not within {seconds} s: {what or true}") from error
