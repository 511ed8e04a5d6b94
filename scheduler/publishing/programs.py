"""Runs git: bounded in time, memory, file size and output, and gone with all its children."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from scheduler import interpreter
from scheduler.errors import RemoteUnavailable
from scheduler.signs_of_life import within

MOST_OUTPUT = 32 * 2**20
MOST_ERRORS = 64 * 2**10
MEMORY_BYTES = 2**30
PART = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a program ended."""

    code: int
    out: bytes
    errors: str


async def run(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    directory: Path,
    seconds: float,
    most_file_bytes: int,
    stdin: bytes | None = None,
) -> Ran:
    """Run a program to its end; raises `RemoteUnavailable` when it takes too long or says too much.

    It dies with this process, and its children are in a group that is ended with it.
    """
    fenced = ["setpriv", "--pdeathsig", "KILL", "--", "prlimit", f"--data={MEMORY_BYTES}"]
    fenced += [f"--fsize={most_file_bytes}", "--core=0", "--", *argv]
    try:
        process = await asyncio.create_subprocess_exec(
            *fenced,
            stdin=DEVNULL if stdin is None else PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=dict(environment),
            cwd=directory,
            start_new_session=True,
        )
    except OSError as error:
        raise RemoteUnavailable(
            f"{argv[0]} cannot be started: {error.strerror}",
            remedy="install git and util-linux on the control node",
        ) from error
    interpreter.release(process.pid)
    try:
        async with within(seconds):
            return await _finished(process, stdin)
    except TimeoutError:
        raise RemoteUnavailable(
            f"the repository did not answer in {seconds:g} s",
            remedy="see whether it can be reached from the control node; it is tried again",
        ) from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _finished(process: Process, stdin: bytes | None) -> Ran:
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.TaskGroup() as group:
        group.create_task(_fed(process, stdin))
        out = group.create_task(_read(process.stdout, MOST_OUTPUT))
        errors = group.create_task(_read(process.stderr, MOST_ERRORS))
    code = await process.wait()
    if len(out.result()) > MOST_OUTPUT:
        raise RemoteUnavailable("the repository lists more than can be taken in")
    text = errors.result()[:MOST_ERRORS].decode("utf-8", "replace")
    return Ran(code=code, out=out.result(), errors=text)


async def _fed(process: Process, stdin: bytes | None) -> None:
    if process.stdin is None or stdin is None:
        return
    with suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(stdin)
        await process.stdin.drain()
    process.stdin.close()


async def _read(stream: asyncio.StreamReader, most: int) -> bytes:
    """Read to the end, keeping one byte more than may be: who says too much is not kept waiting."""
    kept = bytearray()
    while part := await stream.read(PART):
        kept += part[: most + 1 - len(kept)]
    return bytes(kept)
