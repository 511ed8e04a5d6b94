"""A command's terminal: how large it is, and what it shows to whoever looks at it.

What is shown are the guest's own bytes, as ssh shows them, for the caller who asked for them alone.
What is kept of the command is taken beside that, cleared of secrets and cut as any command's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from asyncssh import PTY_ECHO, PTY_ICANON

MOST_UNSHOWN_BYTES = 256 * 1024
"""With more than this the guest waits for whoever looks."""
MOST_LEFT_BYTES = 1 << 20
"""Once the program has ended nobody waits, so that its last words arrive: this much is left."""

QUIET_MODES = {PTY_ECHO: 0, PTY_ICANON: 0}
"""How the terminal begins: the line that starts the program is neither shown nor cut at 4 KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A terminal's size in characters."""

    columns: int
    rows: int


class Line(Protocol):
    """The session that a terminal is the guest's end of; see `guests.sessions`."""

    def resize(self, window: Window) -> None:
        """Tell the program how large its terminal is now."""
        ...

    def hold(self) -> None:
        """Take no more from the guest for now."""
        ...

    def release(self) -> None:
        """Take more from the guest again."""
        ...


class Terminal:
    """One command's; looked at by one caller, once."""

    def __init__(self, window: Window, kind: str) -> None:
        self.window = window
        self.kind = kind
        """What `TERM` says in the guest."""
        self._line: Line | None = None
        self._unshown = bytearray()
        self._news = asyncio.Event()
        self._settled = asyncio.Event()
        self._last_words = self._over = self._left = False

    def open(self, line: Line) -> None:
        """Begin: the guest has a terminal for the command."""
        self._line = line
        line.resize(self.window)
        self._settled.set()

    async def opened(self) -> bool:
        """Wait until the guest has the terminal; False when it never will."""
        await self._settled.wait()
        return self._line is not None and not self._over

    def resize(self, window: Window) -> None:
        """Have it another size, from its beginning or from now on."""
        self.window = window
        if self._line is not None:
            self._line.resize(window)

    def show(self, data: bytes) -> None:
        """Take what the program wrote; it is held where nobody keeps up."""
        if self._over or self._left:
            return
        if self._last_words:
            data = data[: max(0, MOST_LEFT_BYTES - len(self._unshown))]
        self._unshown += data
        self._news.set()
        if self._line is not None and not self._last_words and self._full:
            self._line.hold()

    async def shown(self) -> bytes:
        """Return what there is to be shown, waiting for it; nothing once that was all."""
        while not self._unshown:
            if self._over:
                return b""
            self._news.clear()
            await self._news.wait()
        data = bytes(self._unshown)
        self._unshown.clear()
        self._release()
        return data

    def finish(self) -> None:
        """Take what is still on its way, whoever keeps up: the program has ended."""
        self._last_words = True
        self._release()

    def leave(self) -> None:
        """Show nothing more: nobody looks."""
        self._left = True
        self._unshown.clear()
        self._release()

    def end(self) -> None:
        """Let whoever looks go, after what is left: nothing more comes."""
        self._over = True
        self._settled.set()
        self._news.set()

    @property
    def _full(self) -> bool:
        return len(self._unshown) > MOST_UNSHOWN_BYTES

    def _release(self) -> None:
        if self._line is not None:
            self._line.release()
