"""Programs of the control node, such as ansible-playbook: bounded, and ended for sure.

Such a program starts others, in sessions of their own. All of them carry a mark in their
environment, and at the end whatever still carries it is killed until nothing does.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from scheduler.ids import Prefix, new_id

MARK = "SANDBOXD_PROCESS"
OUTPUT_BYTES = 1024 * 1024
KILL_LOOKS = 50
_PIECE = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a program ended; `exit_code` is null when it was ended by us."""

    exit_code: int | None
    output: str
    """Both streams as they came; where it is too long its middle is left out."""
    output_bytes: int
    truncated: bool


class _Kept:
    """The beginning and the end of what is written."""

    def __init__(self, most: int) -> None:
        self._half = most // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def take(self, data: bytes) -> None:
        self.total += len(data)
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room > 0 else data
        del self._tail[: -self._half]

    @property
    def truncated(self) -> bool:
        return self.total > len(self._head) + len(self._tail)

    def text(self) -> str:
        left_out = self.total - len(self._head) - len(self._tail)
        middle = f"\n[{left_out} bytes left out]\n".encode() if left_out else b""
        return bytes(self._head + middle + self._tail).decode("utf-8", "replace")


async def run_program(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    directory: Path,
    limit_seconds: float,
    output_bytes: int = OUTPUT_BYTES,
) -> Finished:
    """Run a program with nothing but this environment; nothing that it started is left behind.

    Raises `OSError` when it cannot be started.
    """
    mark = f"{MARK}={new_id(Prefix.COMMAND)}"
    kept = _Kept(output_bytes)
    exit_code: int | None = None
    # A pipe of our own: asyncio's would be waited for as long as anybody holds it open.
    with _reading(kept) as write_end:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=write_end,
            stderr=asyncio.subprocess.STDOUT,
            env={**environment, MARK: mark.partition("=")[2]},
            cwd=directory,
            start_new_session=True,
        )
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(limit_seconds):
                    exit_code = await process.wait()
        finally:
            await asyncio.shield(_kill(process, mark))
    return Finished(
        exit_code=exit_code,
        output=kept.text(),
        output_bytes=kept.total,
        truncated=kept.truncated,
    )


@contextmanager
def _reading(kept: _Kept) -> Iterator[int]:
    """Yield the end of a pipe that is written to; what comes is kept, to the last byte there is."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    loop = asyncio.get_running_loop()

    def take() -> bool:
        with suppress(BlockingIOError):
            data = os.read(read_end, _PIECE)
            kept.take(data)
            return bool(data)
        return False

    loop.add_reader(read_end, take)
    try:
        yield write_end
        while take():
            pass
    finally:
        loop.remove_reader(read_end)
        os.close(write_end)
        os.close(read_end)


async def _kill(process: asyncio.subprocess.Process, mark: str) -> None:
    """Kill the program and whatever carries its mark, until a look finds nothing."""
    for _ in range(KILL_LOOKS):
        found = await asyncio.to_thread(_marked, mark.encode())
        if process.returncode is None:
            found.append(process.pid)
        if not found:
            return
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if process.returncode is None:
            await process.wait()


def _marked(mark: bytes) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found
