"""A connection to a guest through the daemon: standard input and output, or any two descriptors.

The admin socket is asked to leave HTTP; what follows its answer belongs to the guest, so the answer
is read byte by byte, never beyond its end.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from http.client import parse_headers
from io import BytesIO

from scheduler.cli.client import unreachable
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure, refused

PROTOCOL = "sandboxd-tunnel"
PART_BYTES = 64 * 1024
MOST_HEAD_BYTES = 64 * 1024


def open_tunnel(socket_path: str, target: str) -> socket.socket:
    """Return the connection once the guest listens; raises `Failure`."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(socket_path)
        connection.sendall(
            f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\n"
            f"Upgrade: {PROTOCOL}\r\nAccept: application/json\r\n\r\n".encode("ascii")
        )
        _check(connection)
    except BaseException as error:
        connection.close()
        if isinstance(error, OSError):
            raise unreachable(socket_path, error) from error
        raise
    return connection


def parts_of(source: int) -> Iterator[bytes]:
    """Yield what comes from a descriptor."""
    while data := os.read(source, PART_BYTES):
        yield data


def carry(connection: socket.socket, parts: Iterable[bytes], sink: int) -> None:
    """Carry what comes to the guest, and its answer to a descriptor until it has said all."""
    threading.Thread(target=_send, args=(connection, parts), daemon=True).start()
    with connection:
        while data := _received(connection):
            view = memoryview(data)
            while view:
                view = view[os.write(sink, view) :]


def _send(connection: socket.socket, parts: Iterable[bytes]) -> None:
    with suppress(OSError):
        for part in parts:
            connection.sendall(part)
        connection.shutdown(socket.SHUT_WR)


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(PART_BYTES)
    except ConnectionError:
        return b""


def _check(connection: socket.socket) -> None:
    """Read the answer's head; raises `Failure` unless it lets us through."""
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte or len(head) > MOST_HEAD_BYTES:
            raise Failure(
                "the daemon's answer broke off",
                exit_code=Exit.UNREACHABLE,
                hint="see whether it restarts: journalctl -u sandboxd",
            )
        head += byte
    line, _, fields = bytes(head).partition(b"\r\n")
    status = int(line.split()[1])
    if status == 101:
        return
    headers = parse_headers(BytesIO(fields))
    body = bytearray()
    length = int(headers.get("content-length", "0"))
    while len(body) < length and (part := connection.recv(length - len(body))):
        body += part
    raise refused(status, headers.get_content_type(), bytes(body))
