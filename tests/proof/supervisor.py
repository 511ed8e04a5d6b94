"""What systemd hears of a daemon."""

from __future__ import annotations

import socket
from pathlib import Path

START_LIMIT_SECONDS = 180


class Supervisor:
    """Listens to the daemon as systemd does; close it at the end."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def wait_for(self, state: bytes, *, seconds: float = START_LIMIT_SECONDS) -> None:
        self._socket.settimeout(seconds)
        while state not in self._socket.recv(4096):
            pass

    def drain(self) -> None:
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(4096)
        except BlockingIOError:
            pass

    def waits_in_vain(self, state: bytes, *, seconds: float) -> bool:
        try:
            self.wait_for(state, seconds=seconds)
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()
