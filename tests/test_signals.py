"""A hangup: from a terminal it ends the daemon in order, from anybody else it changes nothing."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import pytest

from tests.fleet.process import wait_until
from tests.proof.daemon import START_LIMIT_S, Daemon, running

ROOT = Path(__file__).parents[1]
QUICK = '[metrics]\nlisten = "127.0.0.1:0"\n'

pytestmark = pytest.mark.timeout(400)


def test_a_hangup_of_a_service_is_answered_in_the_log(tmp_path: Path) -> None:
    with running(tmp_path, QUICK) as sandboxd:
        assert sandboxd.process is not None
        os.kill(sandboxd.process.pid, signal.SIGHUP)
        wait_until(lambda: "SIGHUP changes nothing" in sandboxd.log_tail(), what="an answer")
        assert sandboxd.is_ready()
        assert sandboxd.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_order_however_often_it_is_told(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path, QUICK) as sandboxd:
        process = sandboxd.process
        assert process is not None

        def has_ended() -> bool:
            if not process.is_running:
                return True
            os.kill(process.pid, number)
            return False

        wait_until(has_ended, what="its end", limit_s=START_LIMIT_S, every_s=0.003)
        assert process.exit_code == 0
        assert "stopping" in sandboxd.log_tail()
        assert not any(word in sandboxd.log_tail() for word in ("Traceback", "KeyboardInterrupt"))


@contextmanager
def on_a_terminal(
    directory: Path, *before: str
) -> Iterator[tuple[subprocess.Popen[bytes], FileIO]]:
    """Run a daemon whose session has a terminal of its own; yield its process and the other end."""
    master, theirs = pty.openpty()
    argv = ["setsid", "--ctty", *before, sys.executable, "-m", "scheduler.daemon"]
    with FileIO(master, "r+") as ours:
        process = subprocess.Popen(
            [*argv, "--state-dir", str(directory / "state")],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        os.close(theirs)
        try:
            yield process, ours
        finally:
            process.kill()
            process.wait(60)


def read_until_ready(terminal: FileIO) -> None:
    said = b""
    while b"ready" not in said.replace(b"already", b""):
        said += terminal.read(4096)


def test_a_terminal_that_is_closed_ends_it_in_order(tmp_path: Path) -> None:
    with on_a_terminal(tmp_path) as (process, terminal):
        read_until_ready(terminal)
        assert (tmp_path / "state" / "admin.sock").exists()
        terminal.close()
        assert process.wait(START_LIMIT_S) == 0
    assert not (tmp_path / "state" / "admin.sock").exists()


def test_one_that_was_told_to_outlive_its_terminal_does(tmp_path: Path) -> None:
    with on_a_terminal(tmp_path, "nohup") as (process, terminal):
        sandboxd = Daemon(state_dir=tmp_path / "state", config=tmp_path / "none")
        wait_until(sandboxd.is_ready, what="it is ready", limit_s=START_LIMIT_S)
        terminal.close()
        os.kill(process.pid, signal.SIGHUP)
        assert sandboxd.is_ready()
        process.terminate()
        assert process.wait(START_LIMIT_S) == 0
