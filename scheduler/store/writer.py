"""The one writer: what waits while a commit is on its way to the disk goes with the next one.

A caller who is cancelled leaves alone: its unit is carried out all the same, so a cancellation
never says that nothing happened. Interactive transactions take the same lock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

from scheduler.clock import Clock
from scheduler.errors import Unavailable
from scheduler.store.committer import Committer, Done, Failed, Outcome, Unit
from scheduler.store.config import Limits
from scheduler.store.timings import Kind, Timings

T = TypeVar("T")

_Waiting = tuple[Unit[Any], asyncio.Future[Any], float]
"""A unit, who waits for it, and since when."""


class Writer:
    """Gathers submitted units into batches and has them committed on the writer's thread."""

    def __init__(
        self,
        committer: Committer,
        lock: asyncio.Lock,
        limits: Limits,
        *,
        clock: Clock,
        timings: Timings,
    ) -> None:
        self._committer = committer
        self._clock = clock
        self._lasted, self._waited = timings.lasted[Kind.WRITE], timings.waited[Kind.WRITE]
        self._lock = lock
        self._limits = limits
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._thread = ThreadPoolExecutor(1, "store-writer")
        self._pump = asyncio.create_task(self._run(), name="store-writer")

    async def submit(self, unit: Unit[T]) -> T:
        """Return what the unit returned, once it is durable; raise what it raised."""
        if self._closing or self._pump.done():
            raise Unavailable("the store is closed", remedy="Start the daemon again.")
        if len(self._waiting) >= self._limits.waiting_writes:
            raise Unavailable(
                f"{self._limits.waiting_writes} writes are waiting already",
                remedy="Try again later; look at the database's disk.",
            )
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((unit, future, self._clock.monotonic()))
        self._wake.set()
        return cast(T, await future)

    async def close(self) -> None:
        """Commit what waits, then end the thread and its connection."""
        self._closing = True
        self._wake.set()
        try:
            await self._pump
        finally:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._committer.close)
            self._thread.shutdown()

    async def _run(self) -> None:
        while self._waiting or not self._closing:
            await self._wake.wait()
            if not self._closing:
                self._wake.clear()
            while self._waiting:
                await self._commit_some()

    async def _commit_some(self) -> None:
        async with self._lock:
            size = min(self._limits.batch, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(size)]
            begun_at = self._clock.monotonic()
            try:
                outcomes, seconds = await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._commit, [unit for unit, _, _ in batch]
                )
            except BaseException:
                for _, future, _ in (*batch, *self._waiting):
                    _deliver(future, Failed(_died()))
                raise
        self._lasted.add(seconds)
        for (_, future, asked_at), outcome in zip(batch, outcomes, strict=True):
            self._waited.add(begun_at - asked_at)
            _deliver(future, outcome)

    def _commit(self, units: Sequence[Unit[Any]]) -> tuple[Sequence[Outcome], float]:
        """Return the units' outcomes and how long it took; runs in the writer's thread."""
        begun_at = self._clock.monotonic()
        return self._committer.commit(units), self._clock.monotonic() - begun_at


def _deliver(future: asyncio.Future[Any], outcome: Outcome) -> None:
    if future.done():
        return
    if isinstance(outcome, Done):
        future.set_result(outcome.value)
    else:
        future.set_exception(outcome.error)


def _died() -> Unavailable:
    """Return an error, never a cancellation, which a waiting loop would end by without a word."""
    return Unavailable(
        "the store's writer has ended; whether the change was committed is not known",
        remedy="Start the daemon again.",
    )
