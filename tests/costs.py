"""What work costs, for tests that hold a cost against another one and never against the clock."""

from __future__ import annotations

import time
from collections.abc import Callable

TIMES = 3


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return what it costs this process to do something: the least of a few times.

    A garbage collection that comes meanwhile costs as much as the work itself.
    """
    taken = []
    for _ in range(TIMES):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return min(taken)
