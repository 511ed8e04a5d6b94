"""What systemd is told: one datagram a state, and nothing where nobody listens."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from scheduler.notify import Notifier


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(5)
        yield listener


def test_ready_and_stopping_are_told(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with (
        listening(path) as listener,
        closing(Notifier({"NOTIFY_SOCKET": path})) as notifier,
    ):
        notifier.ready("3 hosts configured")
        notifier.stopping("finishing")
        assert listener.recv(4096) == b"READY=1\nSTATUS=3 hosts configured"
        assert listener.recv(4096) == b"STOPPING=1\nSTATUS=finishing"


def test_an_abstract_socket_is_told_too(tmp_path: Path) -> None:
    name = f"sandboxd-test-{tmp_path.name}-{id(tmp_path)}"
    with (
        listening("\0" + name) as listener,
        closing(Notifier({"NOTIFY_SOCKET": f"@{name}"})) as notifier,
    ):
        notifier.ready("up")
        assert listener.recv(4096) == b"READY=1\nSTATUS=up"


def test_without_a_supervisor_nothing_happens() -> None:
    Notifier({}).ready("up")


def test_a_supervisor_that_does_not_listen_is_no_reason_to_end(tmp_path: Path) -> None:
    with closing(Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")})) as notifier:
        notifier.ready("up")
        notifier.stopping("down")


def test_a_sign_of_life_is_given_where_one_is_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    environ = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "60000000"}
    with (
        listening(path) as listener,
        closing(Notifier(environ)) as watched,
        closing(Notifier({"NOTIFY_SOCKET": path})) as unwatched,
    ):
        assert watched.watchdog_seconds == 60
        watched.alive()
        watched.status("stuck: writer")
        unwatched.alive()
        watched.stopping("done")
        watched.close()
        watched.alive()
        assert listener.recv(4096) == b"WATCHDOG=1"
        assert listener.recv(4096) == b"STATUS=stuck: writer"
        assert listener.recv(4096) == b"STOPPING=1\nSTATUS=done"


@pytest.mark.parametrize(
    ("usec", "seconds"), [("2500000", 2.5), ("0", None), ("soon", None), ("", None)]
)
def test_a_watchdog_meant_for_us_is_fed(usec: str, seconds: float | None) -> None:
    notifier = Notifier({"WATCHDOG_USEC": usec, "WATCHDOG_PID": str(os.getpid())})
    assert notifier.watchdog_seconds == seconds


def test_a_watchdog_meant_for_the_process_that_started_us_is_not_fed() -> None:
    assert Notifier({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": "1"}).watchdog_seconds is None
