"""What systemd is told: one datagram a state, and nothing where nobody listens."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scheduler.notify import Notifier


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(5)
        yield listener


def test_ready_and_stopping_are_told(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with listening(path) as listener:
        notifier = Notifier({"NOTIFY_SOCKET": path})
        notifier.ready("3 hosts configured")
        notifier.stopping("finishing")
        assert listener.recv(4096) == b"READY=1\nSTATUS=3 hosts configured"
        assert listener.recv(4096) == b"STOPPING=1\nSTATUS=finishing"


def test_an_abstract_socket_is_told_too(tmp_path: Path) -> None:
    name = f"sandboxd-test-{tmp_path.name}-{id(tmp_path)}"
    with listening("\0" + name) as listener:
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready("up")
        assert listener.recv(4096) == b"READY=1\nSTATUS=up"


def test_without_a_supervisor_nothing_happens() -> None:
    Notifier({}).ready("up")


def test_a_supervisor_that_does_not_listen_is_no_reason_to_end(tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    notifier.ready("up")
    notifier.stopping("down")
