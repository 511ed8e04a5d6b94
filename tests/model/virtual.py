"""An event loop on virtual time, where nothing ever happens in another order.

Waiting costs nothing: when no task can go on, time jumps to the next timer. What production gives
to threads is done at once, on the loop's own: the same calls, the same engines, one order of them.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import TypeVar, TypeVarTuple, Unpack

import pytest

from scheduler import ids
from scheduler.clock import SystemClock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
_BOOTED_SECONDS = 5000.0


class _Jumping(selectors.SelectSelector):
    """Never waits: what the loop wants to wait for has passed when it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("every task waits for another one: nothing will ever happen")
        if not ready and timeout is not None:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        # Sums of floats: a timer that is due but for a rounding is due.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._jumping.now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Do it now, and have its answer come a turn later, as a thread's would."""
        answer: asyncio.Future[T] = self.create_future()
        try:
            answer.set_result(func(*args))
        except Exception as error:
            answer.set_exception(error)
        return answer


class VirtualClock(SystemClock):
    """The clock of a loop's time; its wall can be set, and its machine booted."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._set_by = timedelta()
        self.boots = 1

    @property
    def boot_id(self) -> str:
        return f"boot-{self.boots}"

    def now(self) -> datetime:
        return START + timedelta(seconds=self._loop.time()) + self._set_by

    def monotonic(self) -> float:
        return self._loop.time()

    def boottime(self) -> float:
        return _BOOTED_SECONDS + self._loop.time()

    def set_wall(self, seconds: float) -> None:
        """Set the wall clock by so much, as an operator or NTP would."""
        self._set_by += timedelta(seconds=seconds)


@contextmanager
def same_ids() -> Iterator[None]:
    """Have the same ids drawn in the same order, since pauses and orders are derived from ids."""
    milliseconds = count(1_000_000, 1_000_000)
    drawn = ids.Ulids(lambda: next(milliseconds), Random(0).getrandbits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ids, "_ulids", drawn)
        yield
