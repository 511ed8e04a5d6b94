"""Running the command line: in this process without a terminal, or as a process on one."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from scheduler.cli.main import cli
from tests.terminals import resize, seated


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


_alone = threading.Lock()
"""Held by the one command that has this process's environment and outputs."""


@dataclass(frozen=True)
class Sandboxctl:
    """Runs commands against one socket, one at a time: `started` runs another beside it."""

    socket: Path

    def __call__(self, *arguments: str, stdin: str = "") -> Ran:
        environment = {"SANDBOXD_SOCKET": str(self.socket), "USER": "ana", "LOGNAME": "ana"}
        if not _alone.acquire(blocking=False):
            raise RuntimeError(
                "two at once would leave each other's environment and outputs behind"
            )
        try:
            result = CliRunner().invoke(
                cli, arguments, input=stdin, env=environment, catch_exceptions=False
            )
        finally:
            _alone.release()
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
            shown += _read(ours, typed=typed)
            process.wait()
        return Ran(process.returncode, shown, "")
    finally:
        os.close(ours)


def _read(terminal: int, *, until: str | None = None, typed: str = "") -> str:
    """Return what is shown up to a text, or to the end, typing now and whenever nothing happens.

    A Ctrl-C that comes a moment before input is read is lost on Python, as people know it is.
    """
    shown = b""
    while until is None or until.encode() not in shown:
        if typed and not (shown and select.select([terminal], [], [], 1)[0]):
            os.write(terminal, typed.encode())
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        shown += part
    return shown.decode().replace("\r\n", "\n")
