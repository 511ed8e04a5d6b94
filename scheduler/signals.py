"""Signals: what ends the daemon in order, and what is only answered in the log.

A hangup is one of both: from a terminal that was closed it asks for an end, from anybody else for
the configuration to be read anew, which nothing here can. Without a handler it would kill.
"""

from __future__ import annotations

import asyncio
import os
import signal

import structlog

_TERMINAL = "/dev/tty"

_log = structlog.get_logger("scheduler.signals")


def heed(stop: asyncio.Event) -> None:
    """Have signals set `stop` from now on; call it on the event loop, in the main thread."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup
        return
    loop.add_signal_handler(signal.SIGHUP, stop.set if _is_of_a_terminal() else _tell)


def _is_of_a_terminal() -> bool:
    """Return whether this process has a terminal whose end would reach it as a hangup."""
    try:
        os.close(os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _tell() -> None:
    _log.warning("SIGHUP changes nothing: the configuration is read at the start; restart instead")
