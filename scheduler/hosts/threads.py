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
from queue import SimpleQueue
from time import monotonic
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")

_here = threading.local()


class Turn:
    """What our own threads do one at a time. A call that waits for its turn is kept by us.

    That is no delay of its host's, and no part of its deadline.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if self._lock.acquire(blocking=False):
            return
        job: Job[object] | None = getattr(_here, "job", None)
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
        self._finished = False
        self._lock = threading.Lock()
        self._function = function
        self._late = late
        self._kept_seconds = 0.0
        self._kept_since: float | None = None

    @property
    def kept_seconds(self) -> float:
        """Return how long the call has waited for turns of ours, up to now."""
        with self._lock:
            since = self._kept_since
            return self._kept_seconds + (0.0 if since is None else monotonic() - since)

    def keep_waiting(self) -> None:
        """Begin to wait for a turn."""
        with self._lock:
            self._kept_since = monotonic()

    def go_on(self) -> None:
        """End the wait: it is the call's turn."""
        with self._lock:
            assert self._kept_since is not None
            self._kept_seconds += monotonic() - self._kept_since
            self._kept_since = None

    def abandon(self) -> bool:
        """Stop waiting, unless the call has just ended; return whether it is abandoned now.

        What an abandoned call returns is handed to `late` in its own thread.
        """
        with self._lock:
            self.abandoned = not self._finished
            return self.abandoned

    def run(self) -> None:
        """Make the call and hand its outcome to the loop; runs in a worker thread."""
        try:
            result = self._function()
        except BaseException as error:  # it belongs to whoever waits for the call
            self._finish()
            self._hand_over(self._fail, error)
            return
        if self._finish() and self._late is not None:
            self._late(result)
        self._hand_over(self._succeed, result)

    def _finish(self) -> bool:
        with self._lock:
            self._finished = True
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


class _Worker:
    """A thread with a slot for its next job."""

    def __init__(self, idle: Callable[[_Worker], bool]) -> None:
        self._jobs: SimpleQueue[Job[object] | None] = SimpleQueue()
        self._idle = idle
        threading.Thread(target=self._run, name="host-call", daemon=True).start()

    def take(self, job: Job[object] | None) -> None:
        self._jobs.put(job)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            _here.job = job
            job.run()
            _here.job = None
            gone = job.abandoned
            del job  # an idle thread must not keep the last call's objects alive
            if gone or not self._idle(self):
                return


class Threads:
    """The process's pool of call threads; how many calls run at once is the lanes' business."""

    def __init__(self, *, idle_limit: int = 32) -> None:
        self._idle: list[_Worker] = []
        self._idle_limit = idle_limit
        self._lock = threading.Lock()
        self._closed = False

    def start(
        self, function: Callable[[], T], *, late: Callable[[T], object] | None = None
    ) -> Job[T]:
        """Run `function` on an idle thread, or on a new one when there is none."""
        job = Job(function, late)
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        (worker or _Worker(self._keep)).take(job)  # type: ignore[arg-type]  # invariant T
        return job

    def close(self) -> None:
        """Let idle threads end; those with a call end after it."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.take(None)

    def _keep(self, worker: _Worker) -> bool:
        with self._lock:
            if self._closed or len(self._idle) >= self._idle_limit:
                return False
            self._idle.append(worker)
            return True
