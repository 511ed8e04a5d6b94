"""Joins standard input and output with a Unix socket: ssh's way to a guest, run by its own path.

It imports nothing of ours, since ssh starts it anew for each connection.
"""

from __future__ import annotations

import os
import socket
import sys
import threading

BLOCK = 65536


def relay(path: str, source: int, target: int) -> None:
    """Carry bytes both ways until the socket's other side ends."""
    with socket.socket(socket.AF_UNIX) as there:
        there.connect(path)

        def send() -> None:
            while block := os.read(source, BLOCK):
                there.sendall(block)
            there.shutdown(socket.SHUT_WR)

        threading.Thread(target=send, daemon=True).start()
        while block := there.recv(BLOCK):
            while block:
                block = block[os.write(target, block) :]


if __name__ == "__main__":
    relay(sys.argv[1], 0, 1)
