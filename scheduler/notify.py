"""Telling systemd how the daemon is: the notification protocol, which is one datagram.

Without a supervisor (no NOTIFY_SOCKET) every call does nothing, and one that does not listen is no
reason to end. The socket is opened once, since a sign of life must not depend on a free file
descriptor. A daemon whose unit sets WatchdogSec is ended unless it says often enough that it is
alive; whether it is, is not decided here.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

import structlog

_log = structlog.get_logger("scheduler.notify")


class Notifier:
    """Sends states such as READY=1 to the supervisor named by the environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._channel: socket.socket | None = None
        if name:
            kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._channel = socket.socket(socket.AF_UNIX, kind)
        self.watchdog_seconds = _watchdog_seconds(environ)
        """How long the supervisor waits for a sign of life; None when it does not watch us."""

    def ready(self, status: str) -> None:
        """Say that start-up is over."""
        self._send(f"READY=1\nSTATUS={status}")

    def extend(self, seconds: float, status: str) -> None:
        """Ask for so much more time to start, or to end, and say in a line what takes it."""
        self._send(f"EXTEND_TIMEOUT_USEC={seconds * 1e6:.0f}\nSTATUS={status}")

    def stopping(self, status: str) -> None:
        """Say that the daemon is ending on purpose."""
        self._send(f"STOPPING=1\nSTATUS={status}")

    def alive(self) -> None:
        """Give a sign of life, if one is waited for."""
        if self.watchdog_seconds is not None:
            self._send("WATCHDOG=1")

    def status(self, status: str) -> None:
        """Say in a line how it goes."""
        self._send(f"STATUS={status}")

    def close(self) -> None:
        """Say nothing from now on."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _send(self, state: str) -> None:
        if self._channel is None:
            return
        try:
            self._channel.sendto(state.encode(), self._address)
        except OSError as error:
            _log.warning("the supervisor was not told", error=str(error))


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """Return the time limit that is meant for this very process."""
    text = environ.get("WATCHDOG_USEC", "")
    if not text.isdecimal() or int(text) == 0:
        return None
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(text) / 1e6
