"""Lets so many builds run on a host at once, in the order in which they asked.

Who is not let in is not kept waiting here: it goes back to its worker, which stays free to hear
that the sandbox is to be destroyed or moved, and is woken when its turn has come. So builds keep
only builds waiting.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

from scheduler.clock import Clock

ASK_AGAIN_SECONDS = 10.0
"""A sandbox in line asks at least this often, whether it was woken or not."""
FORGOTTEN_SECONDS = 3 * ASK_AGAIN_SECONDS
"""One that has not asked for so long is in line no more."""


@dataclass(slots=True)
class _Line:
    building: set[str] = field(default_factory=set)
    waiting: dict[str, float] = field(default_factory=dict)
    """Sandboxes in the order of their first question, with the time of their last."""
    most: int = 0
    """So many may build at once, as was last heard: what a build was told as it began is old."""

    @property
    def room(self) -> int:
        """Return how many more may begin; none while a smaller number is not yet come down to."""
        return max(0, self.most - len(self.building))


class BuildQueue:
    """One line for each host; `wake` tells a sandbox that it may ask again."""

    def __init__(self, clock: Clock, wake: Callable[[str], None]) -> None:
        self._clock = clock
        self._wake = wake
        self._lines: defaultdict[str, _Line] = defaultdict(_Line)

    @contextmanager
    def turn(self, host_id: str, sandbox_id: str, *, most: int) -> Iterator[bool]:
        """Yield whether a build may run in the block now, beside at most `most` - 1 others."""
        line = self._lines[host_id]
        raised, line.most = most > line.most, most
        admitted = self._admits(line, sandbox_id)
        if admitted:
            line.building.add(sandbox_id)
        if raised:
            self._wake_next(line)
        if not admitted:
            yield False
            return
        try:
            yield True
        finally:
            line.building.discard(sandbox_id)
            self._wake_next(line)

    def allow(self, host_id: str, most: int) -> None:
        """Say how many may build on a host by now; those who may by a larger number are woken."""
        line = self._lines.get(host_id)
        if line is None:
            return
        raised, line.most = most > line.most, most
        if raised:
            self._wake_next(line)

    def leave(self, host_id: str, sandbox_id: str) -> None:
        """Say that a sandbox has nothing to build on a host, or no longer; the next is woken."""
        line = self._lines.get(host_id)
        if line is not None and line.waiting.pop(sandbox_id, None) is not None:
            self._wake_next(line)

    def forget(self, host_id: str) -> None:
        """Drop what was kept of a host that is no more."""
        self._lines.pop(host_id, None)

    def _wake_next(self, line: _Line) -> None:
        for sandbox_id in list(islice(line.waiting, line.room)):
            self._wake(sandbox_id)

    def _admits(self, line: _Line, sandbox_id: str) -> bool:
        now = self._clock.monotonic()
        line.waiting[sandbox_id] = now
        for other, asked_at in list(line.waiting.items()):
            if asked_at < now - FORGOTTEN_SECONDS:
                del line.waiting[other]
        if sandbox_id not in islice(line.waiting, line.room):
            return False
        del line.waiting[sandbox_id]
        return True
