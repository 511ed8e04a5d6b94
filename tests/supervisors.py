"""What a service manager was told by now."""

from __future__ import annotations

import socket


def heard(supervisor: socket.socket) -> list[str]:
    """Return what came since this was last asked; `supervisor` never waits."""
    words = []
    try:
        while True:
            words.append(supervisor.recv(4096).decode())
    except BlockingIOError:
        return words
