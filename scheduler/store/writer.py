"""The one writer: what waits while a commit is on its way to the disk goes with the next one.

A caller who is cancelled leaves alone: its unit is carried out all the same, so a cancellation
never says that nothing happened. Interactive transactions take the same lock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

from scheduler.errors import Unavailable
from scheduler.store.committer import Committer, Done, Failed, Outcome, Unit
from scheduler.store.config import Limits

T = TypeVar("T")

_Waiting = tuple[Unit[Any], asyncio.Future[Any]]


class Writer:
    """Gathers submitted units into batches and has them committed on the writer's thread."""

    def __init__(self, committer: Committer, lock: asyncio.Lock, limits: Limits) -> None:
        self._committer = committer
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
        self._waiting.append((unit, future))
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
            try:
                outcomes = await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._committer.commit, [unit for unit, _ in batch]
                )
            except BaseException:
                for _, future in (*batch, *self._waiting):
                    _deliver(future, Failed(_died()))
                raise
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            _deliver(future, outcome)


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
