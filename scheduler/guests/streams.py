"""Bytes between a caller and a guest's sshd, carried as they are in both directions.

The daemon reads nothing of what it carries: the caller's own SSH speaks to the guest's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

import asyncssh

PART_BYTES = 64 * 1024
BROKEN = (OSError, asyncssh.Error)
"""How a stream breaks that one end lets go."""


class Pipe(Protocol):
    """One end of a connection; `read` returns nothing once the other side sends no more.

    It raises one of `BROKEN` when the other side is gone.
    """

    async def read(self) -> bytes:
        """Return what arrived, waiting for the first byte."""
        ...

    async def write(self, data: bytes) -> None:
        """Send, waiting while the other side does not keep up."""
        ...

    def write_eof(self) -> None:
        """Say that no more will be sent."""
        ...

    def close(self) -> None:
        """Let go at once."""
        ...


class GuestStream:
    """A TCP connection to a guest, made here or by its host."""

    def __init__(
        self,
        reader: asyncio.StreamReader | asyncssh.SSHReader[bytes],
        writer: asyncio.StreamWriter | asyncssh.SSHWriter[bytes],
    ) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        """Return what arrived."""
        return await self._reader.read(PART_BYTES)

    async def write(self, data: bytes) -> None:
        """Send."""
        self._writer.write(data)
        await self._writer.drain()

    def write_eof(self) -> None:
        """Say that no more will be sent."""
        self._writer.write_eof()

    def close(self) -> None:
        """Let go at once."""
        self._writer.close()


@dataclass(slots=True)
class Carried:
    """How many bytes went to the guest, and came from it, so far."""

    to_guest: int = 0
    from_guest: int = 0


async def carry(caller: Pipe, guest: Pipe, carried: Carried) -> None:
    """Carry bytes until both sides have said all, or one is gone; `carried` is kept up to date."""

    async def upwards() -> None:
        while data := await caller.read():
            await guest.write(data)
            carried.to_guest += len(data)
        guest.write_eof()

    async def downwards() -> None:
        while data := await guest.read():
            await caller.write(data)
            carried.from_guest += len(data)
        caller.write_eof()

    both = {asyncio.create_task(upwards()), down := asyncio.create_task(downwards())}
    try:
        done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if down not in done and all(task.exception() is None for task in done):
            # What the guest says last must arrive although the caller has said all.
            await asyncio.wait({down})
    finally:
        for task in both:
            task.cancel()
        results = await asyncio.gather(*both, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, BROKEN):
            raise result
