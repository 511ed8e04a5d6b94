"""One session on a connection to a guest: a program's output as it comes, and how it ended.

asyncssh's own process object collects output until the channel closes. A daemon that a command left
behind keeps the channel open for ever, and the command's exit status is known long before that.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asyncssh
from asyncssh import EXTENDED_DATA_STDERR, SSHClientChannel, SSHClientConnection

from scheduler.errors import GuestUnreachable
from scheduler.guests.outputs import Stream
from scheduler.guests.terminals import QUIET_MODES, Terminal, Window

OPEN_SECONDS = 15.0
CLOSE_SECONDS = 2.0
"""How long output is waited for that may still be on its way when a program has ended."""

WINDOW_BYTES = 256 * 1024
"""How much a guest may send before we have taken it: the memory that a flood can cost."""

_SIGNALLED = 128

Take = Callable[[Stream, bytes], None]
"""What is called with each piece of output, in the order in which it came."""


class Session(asyncssh.SSHClientSession[bytes]):
    """What a program does: its output goes to `take`, its end is waited for."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._channel: SSHClientChannel[bytes] | None = None
        self._ended = asyncio.Event()
        self._closed = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self.exit_code: int | None = None

    def connection_made(self, chan: SSHClientChannel[bytes]) -> None:
        """Keep the channel, to write to and to close."""
        self._channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Hand on a piece of output; asyncssh asks for more only once this returns."""
        self._take(Stream.STDERR if datatype == EXTENDED_DATA_STDERR else Stream.STDOUT, data)

    def exit_status_received(self, status: int) -> None:
        """Know how the program ended."""
        self.exit_code = status
        self._ended.set()

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        """Know which signal ended the program, in a shell's way."""
        del core_dumped, msg, lang
        self.exit_code = _SIGNALLED + _number_of(signal)
        self._ended.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Know that nothing more will come, and maybe never how it ended."""
        del exc
        self._ended.set()
        self._closed.set()
        self._writable.set()

    def pause_writing(self) -> None:
        """Know that the guest does not keep up."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Know that the guest takes more."""
        self._writable.set()

    def send(self, data: bytes) -> None:
        """Write to the program's standard input and end it."""
        self.write(data)
        self.write_eof()

    def write(self, data: bytes) -> None:
        """Write to the program's standard input; a program that is gone reads none."""
        assert self._channel is not None
        with suppress(OSError):
            self._channel.write(data)

    def write_eof(self) -> None:
        """End the program's standard input."""
        assert self._channel is not None
        with suppress(OSError):
            self._channel.write_eof()

    async def drained(self) -> None:
        """Wait until the guest takes more."""
        await self._writable.wait()

    def resize(self, window: Window) -> None:
        """Tell the program how large its terminal is now."""
        assert self._channel is not None
        with suppress(OSError):
            self._channel.change_terminal_size(window.columns, window.rows)

    def hold(self) -> None:
        """Take no more output for now: a window of it waits here, the rest in the guest."""
        assert self._channel is not None
        self._channel.pause_reading()

    def release(self) -> None:
        """Take output again."""
        assert self._channel is not None
        self._channel.resume_reading()

    async def ended(self) -> None:
        """Wait until the program has ended, or nobody can know any more."""
        await self._ended.wait()

    async def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Take what output is still on its way, but do not wait for those who hold it open."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        self.abandon()

    def abandon(self) -> None:
        """Let go of the program at once; what runs in the guest is not ended by that."""
        if self._channel is not None:
            self._channel.abort()


async def open_session(
    connection: SSHClientConnection, line: str, take: Take, *, terminal: Terminal | None = None
) -> Session:
    """Start the login shell with this command line, on a terminal of its own if there is one.

    Raises GuestUnreachable when it was not started.
    """
    session = Session(take)
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            await connection.create_session(
                lambda: session, line, encoding=None, window=WINDOW_BYTES, **_asked(terminal)
            )
    except (asyncssh.Error, OSError, TimeoutError) as error:
        session.abandon()
        raise GuestUnreachable(
            f"the guest's sshd opened no session: {str(error) or type(error).__name__}",
            remedy="nothing was run: try again, and look whether the guest is up and its sshd"
            " allows sessions (MaxSessions) and, where one is asked for, a terminal (PermitTTY)",
        ) from error
    except BaseException:
        session.abandon()
        raise
    return session


def _asked(terminal: Terminal | None) -> dict[str, Any]:
    if terminal is None:
        return {"request_pty": False}
    window = terminal.window
    return {
        "request_pty": True,
        "term_type": terminal.kind,
        "term_size": (window.columns, window.rows),
        "term_modes": QUIET_MODES,
    }


def _number_of(name: str) -> int:
    number: Any = getattr(signal, f"SIG{name}", 0)
    return int(number)
