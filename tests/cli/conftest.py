"""What the command line's tests share: a short place for sockets, a faulty daemon, a way to run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from scheduler.cli.main import cli
from tests.cli.daemon import FaultyDaemon, faulty_daemon


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Sandboxctl:
    """Runs the command line in this process against one socket, without a terminal."""

    socket: Path

    def __call__(self, *arguments: str, stdin: str = "") -> Ran:
        environment = {"SANDBOXD_SOCKET": str(self.socket), "USER": "ana", "LOGNAME": "ana"}
        result = CliRunner().invoke(
            cli, arguments, input=stdin, env=environment, catch_exceptions=False
        )
        return Ran(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """Where a daemon may listen; short, as Unix sockets' names must be."""
    with tempfile.TemporaryDirectory(prefix="cli-") as directory:
        yield Path(directory) / "admin.sock"


@pytest.fixture
def sandboxctl(socket_path: Path) -> Sandboxctl:
    """The command line, told where the daemon is by its environment."""
    return Sandboxctl(socket_path)


@pytest.fixture
def daemon(socket_path: Path) -> Iterator[FaultyDaemon]:
    """A daemon whose every answer the test decides."""
    with faulty_daemon(socket_path) as running:
        yield running
