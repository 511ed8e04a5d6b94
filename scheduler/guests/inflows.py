"""Standard input that still comes while its command runs.

A piece is asked for when the guest has taken the one before it, so a fast sender costs no memory.
What breaks off is not passed on as an end: a program would take half of its input for all of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

MIB = 1 << 20


class Inflow:
    """One command's; sent by one caller, once, and read by whoever runs the command."""

    def __init__(self, most_mb: int, *, broken: str = "its input broke off") -> None:
        self._most_mb = most_mb
        self._broken = broken
        self._chunks: AsyncIterator[bytes] | None = None
        self._begun = asyncio.Event()
        self._over = asyncio.Event()
        self.fault: str | None = None
        """Why it did not come to its end, in words."""

    @property
    def claimed(self) -> bool:
        """Return whether somebody sends it, or it is too late for that."""
        return self._chunks is not None or self._over.is_set()

    def claim(self, chunks: AsyncIterator[bytes]) -> None:
        """Take it from these; they raise ConnectionError where they break off."""
        self._chunks = chunks
        self._begun.set()

    async def begun(self) -> None:
        """Wait until somebody sends it."""
        await self._begun.wait()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield it as it comes; afterwards `fault` tells whether that was all of it."""
        assert self._chunks is not None
        came = 0
        try:
            async for chunk in self._chunks:
                came += len(chunk)
                if came > self._most_mb * MIB:
                    self.fault = (
                        f"more than {self._most_mb} MiB of input came, which is what a command may"
                        " be given"
                    )
                    return
                yield chunk
        except ConnectionError:
            self.fault = self._broken

    def end(self) -> None:
        """Let the sender go: no more of it is read."""
        self._over.set()

    async def over(self) -> None:
        """Wait until no more of it is read."""
        await self._over.wait()
