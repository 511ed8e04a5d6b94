"""How the daemon uses its interpreter: one processor for all who take turns at it, few collections.

Only one thread at a time runs Python. Where the others wait on another processor, every call that
lets go of the interpreter for a moment, for a row of SQLite's or a word of libvirt's, wakes one of
them there, which takes it: a thousand switches for one look at a host instead of fifteen. Decision
0142 has the measurements. What works without the interpreter, programs most of all, runs anywhere.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

SWITCH_SECONDS = 1e-4
"""How long one thread of many may run on while another waits; by default that is 5 ms, which the
store's writer and the hosts' calls would wait for the event loop, and the loop for them."""
COLLECT_AFTER = 20_000
"""So many new objects are looked through for what only refers to itself; by default it is 700,
and the records of a large fleet were gone through again and again for next to nothing."""

PROCESSORS = frozenset(os.sched_getaffinity(0))
"""Where this process was allowed to run when it began."""


def settle(*, one_processor: bool = True) -> None:
    """Make this thread, and all threads it starts from now on, good neighbours of each other.

    What was made so far, modules above all, lives as long as the process and is not gone through
    again.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
    if one_processor:
        allowed = sorted(PROCESSORS)
        _run_on({allowed[os.getpid() % len(allowed)]})


@contextmanager
def settled(*, one_processor: bool = True) -> Iterator[None]:
    """Have everything settled meanwhile, and then as it was before."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    allowed = os.sched_getaffinity(0)
    settle(one_processor=one_processor)
    try:
        yield
    finally:
        _run_on(allowed)
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        sys.setswitchinterval(interval)


def run_anywhere() -> None:
    """Let this thread run on every processor: it does what needs no interpreter."""
    _run_on(PROCESSORS)


def release(pid: int) -> None:
    """Let a program that this process has just started run on every processor."""
    _run_on(PROCESSORS, pid)


@contextmanager
def anywhere() -> Iterator[None]:
    """Run this thread on every processor meanwhile; what it starts does so for good."""
    before = os.sched_getaffinity(0)
    run_anywhere()
    try:
        yield
    finally:
        _run_on(before)


def _run_on(processors: Iterable[int], pid: int = 0) -> None:
    """Bind the calling thread, or a program's first; it is a matter of speed alone.

    Sandboxes for services may forbid it, processors may have been taken away, a program may have
    ended: then the kernel decides as it always did.
    """
    with suppress(OSError):
        os.sched_setaffinity(pid, processors)
