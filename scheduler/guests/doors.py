"""A way to a guest for programs that may have no socket: named pipes, announced at a door.

The directory is written by whoever uses the door, so nothing in it is believed: a name is what
`relay` draws, and what is opened under it must be a pipe.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from scheduler.errors import GuestUnreachable
from scheduler.guests.relay import NAME_BYTES

DOOR = "door"
AT_ONCE = 16
IN_ALL = 5000
"""A play of 500 tasks opens several connections for each."""
COPY_BYTES = 65536

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
OpenStream = Callable[[], Awaitable[Streams]]

_NAME = re.compile(rf"[0-9a-f]{{{2 * NAME_BYTES}}}")
_LONGEST = 4096


@asynccontextmanager
async def door(directory: Path, open_stream: OpenStream) -> AsyncIterator[None]:
    """Carry whoever announces themselves at a directory's door to where streams lead."""
    path = directory / DOOR
    os.mkfifo(path, 0o600)
    within = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    # Reading and writing: its end does not come while nobody is at it.
    bell = os.open(DOOR, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=within)
    keeper = _Keeper(within, bell, open_stream)
    loop = asyncio.get_running_loop()
    loop.add_reader(bell, keeper.answer)
    try:
        yield
    finally:
        loop.remove_reader(bell)
        await keeper.close()
        os.close(bell)
        os.close(within)


class _Keeper:
    """Answers at one door."""

    def __init__(self, within: int, bell: int, open_stream: OpenStream) -> None:
        self._within = within
        self._bell = bell
        self._open_stream = open_stream
        self._said = b""
        self._left = IN_ALL
        self._carrying: set[asyncio.Task[None]] = set()

    def answer(self) -> None:
        """Take the names that were announced."""
        with suppress(BlockingIOError):
            self._said += os.read(self._bell, _LONGEST)
        *names, self._said = self._said.split(b"\n")
        self._said = self._said[-_LONGEST:]
        for name in names:
            text = name.decode("ascii", "replace")
            if _NAME.fullmatch(text) and self._left and len(self._carrying) < AT_ONCE:
                self._left -= 1
                task = asyncio.create_task(self._carry(text))
                self._carrying.add(task)
                task.add_done_callback(self._carrying.discard)

    async def close(self) -> None:
        """Let go of everybody."""
        for task in tuple(self._carrying):
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    async def _carry(self, name: str) -> None:
        try:
            up = self._opened(f"{name}.up", os.O_RDONLY)
        except OSError:
            return
        try:
            down = self._opened(f"{name}.down", os.O_WRONLY)
        except OSError:
            os.close(up)
            return
        here = await _streams(up, down)
        try:
            there = await self._open_stream()
        except GuestUnreachable:
            here[1].close()
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(here[0], there[1]))
                group.create_task(_copy(there[0], here[1]))
        finally:
            here[1].close()
            there[1].close()

    def _opened(self, name: str, way: int) -> int:
        """Open one end of a pipe; what is no pipe is not there."""
        flags = way | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        end = os.open(name, flags, dir_fd=self._within)
        if not stat.S_ISFIFO(os.fstat(end).st_mode):
            os.close(end)
            raise FileNotFoundError(name)
        return end


async def _streams(up: int, down: int) -> Streams:
    """Return both pipes as streams, which close them."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await loop.connect_read_pipe(lambda: protocol, os.fdopen(up, "rb", 0))
    transport, flow = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(down, "wb", 0)
    )
    return reader, asyncio.StreamWriter(transport, flow, reader, loop)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while chunk := await source.read(COPY_BYTES):
            target.write(chunk)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()
    except OSError:
        pass
