"""Signals: what ends the daemon in order, and what is only answered in the log.

A hangup is one of both: from a terminal that was closed it asks for an end, from anybody else for
the configuration to be read anew, which nothing here can. Without a handler it would kill. Once
the daemon has ended in order a further signal asks for nothing new, and must not cut its end off.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import structlog

_TERMINAL = "/dev/tty"

_log = structlog.get_logger("scheduler.signals")


@contextmanager
def heeded(stop: asyncio.Event) -> Iterator[None]:
    """Have signals set `stop` within the block, and change nothing from then on.

    Enter it on the event loop, in the main thread. The loop's own handlers would not do: when it is
    closed they give way to the system's, by which a second signal kills a process about to exit.
    """
    loop = asyncio.get_running_loop()
    answers: dict[signal.Signals, Callable[[], object]] = {
        signal.SIGTERM: stop.set,
        signal.SIGINT: stop.set,
    }
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        answers[signal.SIGHUP] = stop.set if _is_of_a_terminal() else _tell

    def answer(number: int, _frame: object) -> None:
        loop.call_soon_threadsafe(answers[signal.Signals(number)])

    with _woken(loop):
        for number in answers:
            signal.signal(number, answer)
        try:
            yield
        finally:
            for number in answers:
                signal.signal(number, signal.SIG_IGN)


@contextmanager
def _woken(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Have each signal wake the event loop within the block, whichever thread it came to."""
    with ExitStack() as stack:
        heard, told = (stack.enter_context(one) for one in socket.socketpair())
        heard.setblocking(False)
        told.setblocking(False)
        loop.add_reader(heard, heard.recv, 4096)
        stack.callback(loop.remove_reader, heard)
        before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        stack.callback(signal.set_wakeup_fd, before)
        yield


def _is_of_a_terminal() -> bool:
    """Return whether this process has a terminal whose end would reach it as a hangup."""
    try:
        os.close(os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _tell() -> None:
    _log.warning("SIGHUP changes nothing: the configuration is read at the start; restart instead")
