"""Joins standard input and output with a guest's sshd by pipes of the daemon's; run by its path.

Whoever runs it may not have a socket. So it makes a pair of named pipes, writes their name to the
daemon's door, and the daemon joins them with the guest. It imports nothing of ours, since ssh
starts it anew for each connection.
"""

from __future__ import annotations

import os
import select
import sys
import threading

BLOCK = 65536
NAME_BYTES = 16


def relay(directory: str, source: int, target: int) -> None:
    """Carry bytes both ways until the guest's side ends."""
    path = os.path.join(directory, os.urandom(NAME_BYTES).hex())  # noqa: PTH118 - few imports
    os.mkfifo(f"{path}.up", 0o600)
    os.mkfifo(f"{path}.down", 0o600)
    # Open before the daemon is told, so that it finds a reader and a writer there.
    incoming = os.open(f"{path}.down", os.O_RDONLY | os.O_NONBLOCK)
    outgoing = os.open(f"{path}.up", os.O_RDWR)
    door = os.open(os.path.join(directory, "door"), os.O_WRONLY)  # noqa: PTH118
    os.write(door, f"{os.path.basename(path)}\n".encode())  # noqa: PTH119
    os.close(door)
    there = select.poll()
    there.register(incoming, select.POLLIN)
    there.poll()
    for end in ("up", "down"):
        os.unlink(f"{path}.{end}")  # noqa: PTH108
    os.set_blocking(incoming, True)

    def send() -> None:
        while block := os.read(source, BLOCK):
            while block:
                block = block[os.write(outgoing, block) :]
        os.close(outgoing)

    threading.Thread(target=send, daemon=True).start()
    while block := os.read(incoming, BLOCK):
        while block:
            block = block[os.write(target, block) :]


if __name__ == "__main__":
    relay(sys.argv[1], 0, 1)
