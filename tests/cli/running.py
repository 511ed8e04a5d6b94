"""Running the command line: in this process, without a terminal, and looking at what it said."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from scheduler.cli.main import cli


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


@dataclass(frozen=True)
class Sandboxctl:
    """Runs commands against one socket."""

    socket: Path

    def __call__(self, *arguments: str, stdin: str = "") -> Ran:
        environment = {"SANDBOXD_SOCKET": str(self.socket), "USER": "ana", "LOGNAME": "ana"}
        result = CliRunner().invoke(
            cli, arguments, input=stdin, env=environment, catch_exceptions=False
        )
        return Ran(result.exit_code, result.stdout, result.stderr)

    async def run(self, *arguments: str, stdin: str = "") -> Ran:
        """Run while this event loop serves the daemon."""
        return await asyncio.to_thread(self, *arguments, stdin=stdin)
