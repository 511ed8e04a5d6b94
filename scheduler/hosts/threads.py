"""Daemon threads for blocking calls, made on demand and reused while idle.

asyncio's default executor is small, shared with name look-ups, and cannot be left while a call
hangs. Here a hung call costs one daemon thread: it is abandoned, ends when the call returns, and
keeps neither other calls nor the end of the process waiting.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic
from types import TracebackType
from typing import Any, Generic, TypeVar

import structlog

T = TypeVar("T")
Begin = Callable[[threading.Thread], None]
"""Begins a thread; raises RuntimeError when the machine has none left."""

NEW_AT_ONCE = 32
"""So many calls may be new: each takes the interpreter from all others after every word of its
host's, so that a thousand at once would take longer than a thousand in small groups."""
NEW_SECONDS = 0.25
"""After so long a call is its host's affair and new no more; a hung host keeps others so long."""
AGAIN_SECONDS = 0.1
"""How soon another thread is tried after the machine refused one."""

_here = threading.local()
_log = structlog.get_logger()


class Turn:
    """What our own threads do one at a time. A call that waits for its turn is kept by us.

    That is no delay of its host's, and no part of its deadline.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if self._lock.acquire(blocking=False):
            return
        job: Job[Any] | None = getattr(_here, "job", None)
        if job is not None:
            job.keep_waiting()
        self._lock.acquire()
        if job is not None:
            job.go_on()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self._lock.release()


class Job(Generic[T]):
    """One blocking call on its way through a thread; the event loop's thread awaits it."""

    def __init__(self, function: Callable[[], T], late: Callable[[T], object] | None) -> None:
        self.returned: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.abandoned = False
        self.begun = False
        """Whether the call is made, or was; one that is abandoned before that never is."""
        self._finished = False
        self._lock = threading.Lock()
        self._function = function
        self._late = late
        self._kept_seconds = 0.0
        self._kept_since: float | None = None
        self._begun_at = 0.0
        self._ended_at: float | None = None
        self._kept_before = 0.0

    @property
    def kept_seconds(self) -> float:
        """Return how long the call has waited for threads and turns of ours, up to now."""
        with self._lock:
            since = self._kept_since
            return self._kept_seconds + (0.0 if since is None else monotonic() - since)

    @property
    def with_host_seconds(self) -> float:
        """Return how long a call that was begun was with its host, up to now or to its end."""
        with self._lock:
            now = monotonic() if self._ended_at is None else self._ended_at
            turns = self._kept_seconds - self._kept_before
            if self._kept_since is not None:
                turns += now - self._kept_since
            return max(0.0, now - self._begun_at - turns)

    def keep_waiting(self) -> None:
        """Begin to wait for a turn, or for a thread."""
        with self._lock:
            self._kept_since = monotonic()

    def go_on(self) -> None:
        """End the wait, if there is one: it is the call's turn."""
        with self._lock:
            self._end_wait()

    def abandon(self) -> bool:
        """Stop waiting, unless the call has just ended; return whether it is abandoned now.

        What an abandoned call returns is handed to `late` in its own thread.
        """
        with self._lock:
            self.abandoned = not self._finished
            return self.abandoned

    def run(self) -> None:
        """Make the call and hand its outcome to the loop; runs in a worker thread.

        One that was abandoned before it began is not made.
        """
        if not self._begin():
            self._hand_over(self._fail, RuntimeError("abandoned before it began"))
            return
        try:
            result = self._function()
        except BaseException as error:  # it belongs to whoever waits for the call
            self._finish()
            self._hand_over(self._fail, error)
            return
        if self._finish() and self._late is not None:
            self._late(result)
        self._hand_over(self._succeed, result)

    def _end_wait(self) -> None:
        if self._kept_since is not None:
            self._kept_seconds += monotonic() - self._kept_since
            self._kept_since = None

    def _begin(self) -> bool:
        with self._lock:
            # At once with the wait's end: a call is with us, or with its host, and never with none.
            self._end_wait()
            self.begun = not self.abandoned
            self._begun_at, self._kept_before = monotonic(), self._kept_seconds
            return self.begun

    def _finish(self) -> bool:
        with self._lock:
            self._finished = True
            self._ended_at = monotonic()
            return self.abandoned

    def _hand_over(self, deliver: Callable[..., None], outcome: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.returned.get_loop().call_soon_threadsafe(deliver, outcome)

    def _succeed(self, result: T) -> None:
        if not self.returned.done():
            self.returned.set_result(result)

    def _fail(self, error: BaseException) -> None:
        if not self.returned.done():
            self.returned.set_exception(error)
            self.returned.exception()  # an abandoned call's failure interests nobody


class Place:
    """Room for one call that is new; belongs to the event loop's thread."""

    def __init__(self, room: asyncio.Semaphore) -> None:
        self._room: asyncio.Semaphore | None = room

    def leave(self, _returned: object = None) -> None:
        """Give the place back, if it was not yet."""
        room, self._room = self._room, None
        if room is not None:
            room.release()

    def leave_after(self, job: Job[Any]) -> None:
        """Give the place back when the call has returned, or is new no more."""
        timer = asyncio.get_running_loop().call_later(NEW_SECONDS, self.leave)
        job.returned.add_done_callback(self.leave)
        job.returned.add_done_callback(lambda _: timer.cancel())


class _Worker:
    """A thread that makes one call after another, and waits for more in between."""

    def __init__(self, pool: Threads) -> None:
        self._jobs: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._pool = pool
        pool.begin(threading.Thread(target=self._run, name="host-call", daemon=True))

    def take(self, job: Job[Any] | None) -> None:
        self._jobs.put(job)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            _here.job = job
            job.run()
            _here.job = None
            gone = job.abandoned
            del job  # an idle thread must not keep the last call's objects alive
            if gone or not self._pool.keep(self):
                return


class Threads:
    """The process's pool of call threads; how many calls run at once is the lanes' business.

    To start a thread is to wait until it has had its first turn at the interpreter: with hundreds
    of them at work that is long, so a thread of its own does it, and not the event loop's.
    """

    def __init__(self, *, idle_limit: int = 32, begin: Begin = threading.Thread.start) -> None:
        self.begin = begin
        self._idle: list[_Worker] = []
        self._idle_limit = idle_limit
        self._lock = threading.Lock()
        self._backlog: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._new = asyncio.Semaphore(NEW_AT_ONCE)
        self._closed = False
        self._never = threading.Event()
        threading.Thread(target=self._start_workers, name="host-threads", daemon=True).start()

    def start(
        self, function: Callable[[], T], *, late: Callable[[T], object] | None = None
    ) -> Job[T]:
        """Run `function` on an idle thread, or on a new one when there is none."""
        job = Job(function, late)
        job.keep_waiting()
        with self._lock:
            worker = self._idle.pop() if self._idle else None
            if worker is None and not self._closed:
                self._backlog.put(job)
                return job
        if worker is None:
            worker = _Worker(self)
        worker.take(job)
        return job

    async def place(self) -> Place:
        """Wait until there is room for a call that is new; its place is given back by itself."""
        await self._new.acquire()
        return Place(self._new)

    def close(self) -> None:
        """Let idle threads end; those with a call end after it."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            self._backlog.put(None)
        for worker in idle:
            worker.take(None)

    def keep(self, worker: _Worker) -> bool:
        """Give a worker that is done a call that waits, or let it wait; False when it is to end."""
        with suppress(Empty):
            if (job := self._backlog.get_nowait()) is not None:
                worker.take(job)
                return True
            self._backlog.put(None)
        with self._lock:
            if self._closed or len(self._idle) >= self._idle_limit:
                return False
            self._idle.append(worker)
            return True

    def _start_workers(self) -> None:
        """Give each call that waits a thread; it lasts for as long as the daemon does.

        A machine that is short of threads refuses some: the call then gets the first one that is
        idle, or that can be made, unless whoever waits for it has given up by then.
        """
        while (job := self._backlog.get()) is not None:
            worker = self._idle_one() or self._new_one()
            if worker is None:
                _log.warning("host.threads.scarce", remedy="see how many tasks the unit may have")
            while worker is None:
                self._never.wait(AGAIN_SECONDS)
                worker = self._idle_one() or self._new_one()
            worker.take(job)
            del job, worker  # an idle thread must not keep the last call's objects alive

    def _idle_one(self) -> _Worker | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _new_one(self) -> _Worker | None:
        with suppress(RuntimeError, MemoryError):
            return _Worker(self)
        return None
