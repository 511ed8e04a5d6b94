"""A lane: one host's bounded way into blocking calls, so that a hung host costs only itself.

A call that passes its deadline is abandoned with its thread; libvirt has no way to cancel it.
Four of those and the lane refuses every call until one returns, which bounds what a host can cost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from scheduler.errors import HostTimeout, HostUnreachable
from scheduler.hosts.threads import Job, Threads
from scheduler.signs_of_life import bounded

T = TypeVar("T")

CALLS_AT_ONCE = 3
"""To one host for one purpose, watching, asking or changing."""


class CallNotBegun(HostUnreachable):
    """The host was not asked: too many calls to it wait or hang already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLimits:
    """How much of one host's trouble is borne."""

    abandoned: int = 4
    waiting: int = 256
    waiting_seconds: float = 30
    kept_seconds: float = 120
    """So long a call may wait for threads and turns of ours without its being its host's delay."""


@dataclass(slots=True)
class Spent:
    """Where the time of a call went, filled in as it goes."""

    waited_seconds: float = 0.0
    """For slots, threads and turns of ours."""
    seconds: float | None = None
    """With the host; None while it was not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a call is, for messages, and what bounds it."""

    doing: str
    deadline_seconds: float
    slots: asyncio.Semaphore | None = None
    """How many may run at once; None where that is bounded elsewhere."""
    subject: str | None = None
    """What the call is about: while one about it hangs, no second one is begun."""
    spent: Spent = field(default_factory=Spent)


class Lane:
    """The calls of one host; belongs to the event loop's thread."""

    def __init__(self, host: str, threads: Threads, *, limits: LaneLimits | None = None) -> None:
        self._host = host
        self._threads = threads
        self._limits = limits or LaneLimits()
        self._waiting = 0
        self._abandoned: dict[int, str | None] = {}

    @property
    def abandoned(self) -> int:
        """Return how many calls passed their deadline and have not returned since."""
        return len(self._abandoned)

    async def call(
        self,
        function: Callable[[], T],
        terms: Terms,
        *,
        late: Callable[[T], object] | None = None,
        ended: Callable[[], None] | None = None,
    ) -> T:
        """Run `function` in a thread and return its result within the deadline.

        Turns of ours that it waits for do not count, within a bound. `late` gets, in a thread, a
        result that nobody waited for. `ended` is called once, when the call has really returned or
        was never begun. Raises HostTimeout when the deadline passed, so that the outcome is
        unknown, and CallNotBegun when the host was not asked.
        """
        limits = self._limits
        most = limits.waiting_seconds + limits.kept_seconds + terms.deadline_seconds
        with bounded(most):
            return await self._call(function, terms, late, ended)

    async def _call(
        self,
        function: Callable[[], T],
        terms: Terms,
        late: Callable[[T], object] | None,
        ended: Callable[[], None] | None,
    ) -> T:
        now, spent = asyncio.get_running_loop().time, terms.spent
        asked_at = now()
        try:
            job = await self._begin(function, terms, late)
        except BaseException:
            if ended is not None:
                ended()
            raise
        finally:
            spent.waited_seconds += now() - asked_at
        if ended is not None:
            job.returned.add_done_callback(lambda _: ended())
        try:
            return await self._outcome(job, terms, late)
        finally:
            spent.waited_seconds += job.kept_seconds
            if job.begun:
                spent.seconds = (spent.seconds or 0.0) + job.with_host_seconds

    async def _outcome(self, job: Job[T], terms: Terms, late: Callable[[T], object] | None) -> T:
        try:
            await _returned(job, terms.deadline_seconds, most_kept=self._limits.kept_seconds)
        except asyncio.CancelledError:
            self._leave(job, terms, late)
            raise
        if job.returned.done() or not job.abandon():
            return await job.returned
        if not job.begun:
            raise CallNotBegun(
                f"host {self._host} was not asked to {terms.doing}: no thread could be had for it",
                remedy="this machine is short of them: see how many tasks the daemon's unit may"
                " have, and what else runs here",
            )
        self._remember(job, terms)
        raise HostTimeout(
            f"host {self._host} did not {terms.doing} within {terms.deadline_seconds:g} s;"
            " whether it did is unknown",
            remedy="this is looked into again by itself; check the host's load and libvirtd",
        )

    def detach(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Run `function` in a thread whatever the lane's state: for letting go of things."""
        return self._threads.start(function).returned

    async def _begin(
        self,
        function: Callable[[], T],
        terms: Terms,
        late: Callable[[T], object] | None,
    ) -> Job[T]:
        self._admit(terms)
        if terms.slots is None:
            return await self._start(function, terms, late)
        await self._wait_for_slot(terms.slots, terms)
        try:
            job = await self._start(function, terms, late)
        except BaseException:
            terms.slots.release()
            raise
        job.returned.add_done_callback(partial(_release, terms.slots))
        return job

    async def _start(
        self, function: Callable[[], T], terms: Terms, late: Callable[[T], object] | None
    ) -> Job[T]:
        place = await self._threads.place()
        try:
            # Others may have hung while this one waited.
            self._admit(terms)
        except BaseException:
            place.leave()
            raise
        job = self._threads.start(function, late=late)
        place.leave_after(job)
        return job

    def _admit(self, terms: Terms) -> None:
        if terms.subject is not None and terms.subject in self._abandoned.values():
            raise CallNotBegun(
                f"host {self._host} was not asked to {terms.doing}: an earlier call on"
                f" {terms.subject} still hangs",
                remedy="a hung QEMU process on the host is the usual cause; look at it there",
            )
        if len(self._abandoned) >= self._limits.abandoned:
            raise CallNotBegun(
                f"host {self._host} was not asked to {terms.doing}: {len(self._abandoned)}"
                " earlier calls passed their deadline and still hang",
                remedy="restart libvirtd on the host, or end the hung QEMU processes there",
            )

    async def _wait_for_slot(self, slots: asyncio.Semaphore, terms: Terms) -> None:
        if self._waiting >= self._limits.waiting:
            raise self._busy(terms, f"{self._waiting} calls wait already")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limits.waiting_seconds):
                await slots.acquire()
        except TimeoutError:
            why = f"no call ended for {self._limits.waiting_seconds:g} s"
            raise self._busy(terms, why) from None
        finally:
            self._waiting -= 1

    def _busy(self, terms: Terms, why: str) -> CallNotBegun:
        return CallNotBegun(
            f"host {self._host} was not asked to {terms.doing}: {why}",
            remedy="the host is slow; ask less of it at once, or look at its load",
        )

    def _leave(self, job: Job[T], terms: Terms, late: Callable[[T], object] | None) -> None:
        """Leave a call whose caller was cancelled; its result is nobody's any more."""
        if job.abandon():
            self._remember(job, terms)
        elif late is not None:
            job.returned.add_done_callback(partial(self._discard, late))

    def _discard(self, late: Callable[[T], object], returned: asyncio.Future[T]) -> None:
        if returned.exception() is None:
            self.detach(partial(late, returned.result()))

    def _remember(self, job: Job[T], terms: Terms) -> None:
        if not job.begun:
            return  # and never will be
        key = id(job)
        self._abandoned[key] = terms.subject
        # The callback holds the job, so that its id stays its own.
        job.returned.add_done_callback(
            lambda _, job=job: self._abandoned.pop(id(job))  # type: ignore[misc]
        )


async def _returned(job: Job[T], deadline_seconds: float, *, most_kept: float) -> None:
    """Wait until the call has returned, or was with its host for as long as it may be."""
    now = asyncio.get_running_loop().time
    begun, left = now(), deadline_seconds
    while left > 0 and not job.returned.done():
        await asyncio.wait({job.returned}, timeout=left)
        left = begun + deadline_seconds + min(job.kept_seconds, most_kept) - now()


def _release(slots: asyncio.Semaphore, _returned: object) -> None:
    slots.release()
