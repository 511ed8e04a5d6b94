"""Telling systemd how the daemon is: the notification protocol, which is one datagram.

Without a supervisor (no NOTIFY_SOCKET) every call does nothing, and one that does not listen is no
reason to end.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

import structlog

_log = structlog.get_logger("scheduler.notify")


class Notifier:
    """Sends states such as READY=1 to the supervisor named by the environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name

    def ready(self, status: str) -> None:
        """Say that start-up is over."""
        self._send(f"READY=1\nSTATUS={status}")

    def stopping(self, status: str) -> None:
        """Say that the daemon is ending on purpose."""
        self._send(f"STOPPING=1\nSTATUS={status}")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            try:
                channel.sendto(state.encode(), self._address)
            except OSError as error:
                _log.warning("the supervisor was not told", error=str(error))
