"""Waiting for something to happen: who waits is told when the event journal has grown.

The journal in the store is written by every room, so its newest number is what counts. One
follower reads it for everybody, only while somebody waits, and at once after a poke.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Self, TypeVar

from scheduler.clock import Clock
from scheduler.errors import SandboxdError
from scheduler.store import Store

T = TypeVar("T")

LOOK_SECONDS = 0.05


class Journal:
    """Knows the newest event's number and wakes those who wait for a newer one."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._latest = 0
        self._waiting = 0
        self._wanted = asyncio.Event()
        self._poked = asyncio.Event()
        self._grown = asyncio.Event()
        self._closed = False

    @classmethod
    @asynccontextmanager
    async def open(cls, store: Store, clock: Clock) -> AsyncIterator[Self]:
        """Follow the journal until the block is left; waiters are then let go."""
        journal = cls(store, clock)
        journal._latest = await journal.latest()
        follower = asyncio.create_task(journal._follow(), name="journal")
        follower.add_done_callback(journal._ended)
        try:
            yield journal
        finally:
            journal.close()
            follower.cancel()
            with suppress(asyncio.CancelledError):
                await follower

    @property
    def waiting(self) -> int:
        """Return how many are waiting."""
        return self._waiting

    @property
    def closed(self) -> bool:
        """Return whether nobody should wait any longer."""
        return self._closed

    def close(self) -> None:
        """Let every waiter go, now and from now on: the daemon is about to stop."""
        self._closed = True
        self._grown.set()

    def poke(self) -> None:
        """Say that something was just committed, so that the follower looks at once."""
        self._poked.set()

    async def latest(self) -> int:
        """Return the newest event's number."""
        return await self._store.read(lambda tx: tx.events.latest())

    async def until(
        self, look: Callable[[], Awaitable[T]], settled: Callable[[T], bool], seconds: float
    ) -> T:
        """Return what `look` finds once it is settled, or as it is when `seconds` are over."""
        deadline = self._clock.monotonic() + seconds
        while True:
            seen = await self.latest()
            found = await look()
            left = deadline - self._clock.monotonic()
            if settled(found) or left <= 0 or self._closed:
                return found
            await self.wait_beyond(seen, left)

    async def wait_beyond(self, seq: int, seconds: float) -> bool:
        """Wait until there is an event newer than `seq`; return False when time ran out first."""
        deadline = self._clock.monotonic() + seconds
        self._waiting += 1
        self._wanted.set()
        try:
            while self._latest <= seq and not self._closed:
                left = deadline - self._clock.monotonic()
                if left <= 0 or not await self._clock.wait(self._grown, left):
                    return self._latest > seq
        finally:
            self._waiting -= 1
        return self._latest > seq

    async def _follow(self) -> None:
        while True:
            await self._wanted.wait()
            if not self._waiting:
                self._wanted.clear()
                continue
            self._poked.clear()
            with suppress(SandboxdError):
                await self._look()
            await self._clock.wait(self._poked, LOOK_SECONDS)

    async def _look(self) -> None:
        latest = await self.latest()
        if latest > self._latest and not self._closed:
            self._latest = latest
            grown, self._grown = self._grown, asyncio.Event()
            grown.set()

    def _ended(self, _follower: asyncio.Task[None]) -> None:
        """Leave nobody waiting for a follower that is gone, whatever ended it."""
        self.close()
