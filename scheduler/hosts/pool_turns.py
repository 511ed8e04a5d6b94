"""Turns at a host's pool: one thing is done to it after the other, again while the pool is busy.

A refresh fails while a volume is made, so both take turns. Copying a whole disk takes up to an hour
and lets the pool do everything else meanwhile: it has no turn, and a refresh is refused until then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar
from zlib import crc32

from scheduler.clock import Clock
from scheduler.hosts.deadlines import Verb
from scheduler.hosts.failures import ObjectBusy
from scheduler.hosts.lanes import CallNotBegun
from scheduler.model.hosts import HostResources

T = TypeVar("T")

BUSY_SECONDS = 30.0
"""How long a pool that is busy with a job of somebody else is tried again."""
POOL_VERBS = (Verb.POOL, Verb.CREATE_VOLUME, Verb.DELETE_VOLUME, Verb.UPLOAD, Verb.FREEZE)
"""What takes a turn; each is over within minutes."""
HANGS_AT_MOST = 5
"""So many may pass their deadline before somebody's turn: after four the lane begins none."""


class PoolTurns:
    """The turns of one host's pool; belongs to the event loop's thread."""

    def __init__(self, host: HostResources, clock: Clock, deadlines: Mapping[Verb, float]) -> None:
        self.lock = asyncio.Lock()
        self._host = host
        self._clock = clock
        self._wait_seconds = HANGS_AT_MOST * max(deadlines[verb] for verb in POOL_VERBS)
        self._beside = 0

    @property
    def idle(self) -> bool:
        """Return whether the pool could be refreshed now, for all that we do to it."""
        return not self.lock.locked() and not self._beside

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Do something long without a turn."""
        self._beside += 1
        try:
            yield
        finally:
            self._beside -= 1

    async def take(self, verb: Verb, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call in turn, again and again while the pool is busy.

        Between two tries others have their turns: what is busy for one is not for all. With
        something long of our own beside it there is no second try, since nobody should wait for it.
        """
        assert verb in POOL_VERBS, verb
        give_up_at = self._clock.monotonic() + BUSY_SECONDS
        while True:
            async with self._turn(verb):
                try:
                    return await call()
                except ObjectBusy:
                    if self._beside or self._clock.monotonic() >= give_up_at:
                        raise
            await self._clock.wait(asyncio.Event(), self._pause_seconds())

    @asynccontextmanager
    async def _turn(self, verb: Verb) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self.lock.acquire()
        except TimeoutError:
            raise CallNotBegun(
                f"host {self._host.name} was not asked to {verb.value}: what was asked of its pool"
                f" before took longer than {self._wait_seconds:g} s",
                remedy="look at the storage under the pool, and at libvirtd on the host",
            ) from None
        try:
            yield
        finally:
            self.lock.release()

    def _pause_seconds(self) -> float:
        """Return a pause that differs by host and moment, so that daemons do not march in step."""
        moment = f"{self._host.id}/{self._clock.monotonic()}"
        return 0.2 + 0.8 * crc32(moment.encode()) / 2**32
