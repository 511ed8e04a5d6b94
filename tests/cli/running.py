"""Running the command line: in this process without a terminal, or as a process on one."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import select
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from scheduler.cli.main import cli
from tests.terminals import resize, seated

LOOK_SECONDS = 0.02
AGAIN_SECONDS = 1.0
"""How long nothing is shown before something is typed again."""


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What was printed with `-o json`."""
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        """The words of every printed line."""
        return [line.split() for line in self.out.splitlines()]


class Alone:
    """What the one command holds that has this process's environment and outputs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder = ""

    @contextmanager
    def held(self, arguments: Sequence[str]) -> Iterator[None]:
        """Be that command; a hung one is never ended, so that each other test fails by its name."""
        if not self._lock.acquire(blocking=False):
            raise RuntimeError(
                f"{self._holder} still runs in this process:"
                " two at once would leave each other's environment and outputs behind"
            )
        try:
            test = os.environ.get("PYTEST_CURRENT_TEST", "no test")
            self._holder = f"`sandboxctl {shlex.join(arguments)}` of {test}"
            yield
        finally:
            self._lock.release()


ALONE = Alone()


@dataclass(frozen=True)
class Sandboxctl:
    """Runs commands against one socket, one at a time: `started` runs another beside it."""

    socket: Path

    def __call__(self, *arguments: str, stdin: str = "") -> Ran:
        environment = {"SANDBOXD_SOCKET": str(self.socket), "USER": "ana", "LOGNAME": "ana"}
        with ALONE.held(arguments):
            result = CliRunner().invoke(
                cli, arguments, input=stdin, env=environment, catch_exceptions=False
            )
        return Ran(result.exit_code, result.stdout, result.stderr)

    async def run(self, *arguments: str, stdin: str = "") -> Ran:
        """Run while this event loop serves the daemon."""
        return await asyncio.to_thread(self, *arguments, stdin=stdin)


PROGRAM = (sys.executable, "-c", "from scheduler.cli.main import main; main()")


def environment(socket: Path, **more: str) -> dict[str, str]:
    """Return what a process of its own needs to find the daemon, and no taste of the tester's."""
    kept = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "TERM"}}
    return {**kept, "SANDBOXD_SOCKET": str(socket), "USER": "ana", "LOGNAME": "ana", **more}


@contextmanager
def started(socket: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process of its own with its outputs piped; it does not outlive the block."""
    with subprocess.Popen(
        [*PROGRAM, *arguments],
        env=environment(socket),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def on_terminal(
    socket: Path, *arguments: str, prompt: str = "", typed: str = "", **more: str
) -> Ran:
    """Run a process of its own on a terminal and type at its prompt; its outputs come as one."""
    ours, its = pty.openpty()
    try:
        resize(its, columns=200, rows=50)
        around = environment(socket, **{"TERM": "xterm-256color", **more})
        with seated(its, [*PROGRAM, *arguments], around) as process:
            os.close(its)
            shown = _read(ours, until=prompt) if prompt else ""
            shown += _answer(ours, process, typed) if typed else _read(ours)
            process.wait()
        return Ran(process.returncode, shown, "")
    finally:
        os.close(ours)


def _read(terminal: int, *, until: str | None = None) -> str:
    """Return what is shown up to a text, or to the end."""
    shown = b""
    while until is None or until.encode() not in shown:
        part = _part(terminal)
        if not part:
            break
        shown += part
    return _lines(shown)


def _answer(terminal: int, process: subprocess.Popen[bytes], typed: str) -> str:
    """Type while the program waits for it; return what is shown to the end.

    A Ctrl-C that comes a moment before input is read is lost on Python, as people know it is, so
    it is typed again where nothing follows. Not to a program that is at work on the first one.
    """
    shown, patience = b"", LOOK_SECONDS
    while True:
        if not select.select([terminal], [], [], patience)[0]:
            if _sleeps(process):
                os.write(terminal, typed.encode())
                patience = AGAIN_SECONDS
        elif part := _part(terminal):
            shown += part
        else:
            return _lines(shown)


def _sleeps(process: subprocess.Popen[bytes]) -> bool:
    """Return whether it waits for something, and for no processor."""
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "S"


def _part(terminal: int) -> bytes:
    """Return what is shown next, nothing at the end."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def _lines(shown: bytes) -> str:
    return shown.decode().replace("\r\n", "\n")
