"""Has the kernel break connections whose other machine is gone, where libvirt would never notice.

Libvirt's own keepalive begins once a connection is open. One whose host loses its power while it is
being opened waits for a word for ever, its thread with it, and a few such keep their host out for
good. The kernel asks the other side whether it still knows the connection.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

IDLE_SECONDS = 5
PROBES = 3
UNANSWERED_SECONDS = IDLE_SECONDS * (PROBES + 1)
"""A side that says nothing for so long, though asked, is gone; as libvirt's keepalive has it."""


def break_when_dead(port: int) -> int:
    """Have this process's TCP connections to a port of other sides end with their machine.

    Returns how many there are. They are not touched otherwise: one whose machine lives may be
    silent as long as it likes.
    """
    found = 0
    for connection in _connections():
        with connection, suppress(OSError):  # not connected, or closed meanwhile
            if connection.getpeername()[1] == port:
                _ask_now_and_then(connection)
                found += 1
    return found


def _connections() -> Iterator[socket.socket]:
    """Yield this process's TCP sockets, each by a descriptor of its own, to be closed."""
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if not str(entry.readlink()).startswith("socket:"):
                continue
            one = socket.socket(fileno=os.dup(int(entry.name)))
            if one.family in (socket.AF_INET, socket.AF_INET6) and one.type is socket.SOCK_STREAM:
                yield one
            else:
                one.close()


def _ask_now_and_then(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, IDLE_SECONDS),
        (socket.TCP_KEEPINTVL, IDLE_SECONDS),
        (socket.TCP_KEEPCNT, PROBES),
        # What was sent and never acknowledged is not probed: it counts by itself.
        (socket.TCP_USER_TIMEOUT, UNANSWERED_SECONDS * 1000),
    ):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
