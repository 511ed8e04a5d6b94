"""How long work may show no sign of life: said by who does it, heard by who watches over it.

Whoever does something bounded says how long it may take at most, and does not know who watches. Who
does is found in the context, which a task inherits; where nobody watches, nobody is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Protocol


class Watcher(Protocol):
    """Who watches over work."""

    def expect(self, seconds: float, /) -> Callable[[], None]:
        """Bear with something bounded that begins now; call what is returned when it has ended."""
        ...


_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Have the work within be watched over."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Do what takes so long at most; its beginning and its end are signs of life."""
    watcher = _watcher.get()
    if watcher is None:
        yield
        return
    ended = watcher.expect(seconds)
    try:
        yield
    finally:
        ended()


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Do what is ended with `TimeoutError` after so long, and is therefore bounded."""
    with bounded(seconds):
        async with asyncio.timeout(seconds):
            yield
