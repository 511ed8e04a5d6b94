"""Other people's programs, run beside the daemon: an argv, a clean environment, bounded in all.

No shell is between, nothing of the daemon's environment goes along, and what a program started
ends with it: it leads a group of its own, which is killed as a whole.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from scheduler import interpreter
from scheduler.signs_of_life import within

READ_BYTES = 65536
LEASH_SECONDS = 10.0
"""How long one on a leash may take to end what it started."""
SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended; None for a code when its time was up."""

    code: int | None
    output: str
    """The end of what it said on both of its outputs."""


class Sieve(Protocol):
    """What may be kept of an output, said of a stream that comes in pieces."""

    def feed(self, data: bytes, /) -> bytes:
        """Return what of all that came may be kept by now."""
        ...

    def end(self) -> bytes:
        """Return the rest of it: nothing more comes."""
        ...


def program(name: str) -> Path | None:
    """Return where a program is: beside this Python or where systems keep theirs; None nowhere."""
    path = f"{Path(sys.executable).parent}:{SEARCHED}"
    found = shutil.which(name, path=path)
    return None if found is None else Path(found)


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment with a home of its own and nothing of the daemon's."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{SEARCHED}",
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        **more,
    }


async def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    limit_seconds: float,
    most_bytes: int,
    leashed: bool = False,
    sieve: Sieve | None = None,
) -> Ended:
    """Run a program to its end, or to the end of its time; what it said first is forgotten first.

    One that is `leashed` ends what it started by itself once its standard input ends. What it says
    goes through the `sieve` before anything is forgotten: the rest of a secret looks like nothing.

    Raises `OSError` when it cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=cwd,
        env=dict(environment),
        stdin=asyncio.subprocess.PIPE if leashed else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    interpreter.release(process.pid)
    said = bytearray()
    try:
        async with within(limit_seconds):
            await _listen(process, said, most_bytes, sieve)
            code: int | None = await process.wait()
    except TimeoutError:
        code = None
    finally:
        await _kill(process)
    if sieve is not None:
        _keep(said, sieve.end(), most_bytes)
    return Ended(code=code, output=said.decode("utf-8", "replace"))


async def _listen(
    process: asyncio.subprocess.Process, said: bytearray, most: int, sieve: Sieve | None
) -> None:
    assert process.stdout is not None
    while chunk := await process.stdout.read(READ_BYTES):
        _keep(said, chunk if sieve is None else sieve.feed(chunk), most)


def _keep(said: bytearray, more: bytes, most: int) -> None:
    said += more
    if len(said) > most:
        del said[:-most]


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End all that is left of a program and of what it started."""
    if process.stdin is not None:
        process.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(LEASH_SECONDS):
                await process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    # Whoever held its output is gone: the end comes at once.
    await process.wait()
