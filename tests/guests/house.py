"""A house of guests for tests without hosts: an SSH server in this process that runs real shells.

Every sandbox's guest is this machine. The way there can be cut, and connections that stand too. Who
asks for a terminal gets a real one.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import termios
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import asyncssh

from scheduler.errors import SandboxdError
from scheduler.model import HostResources, Sandbox
from tests.terminals import resize, take_terminal
from tests.waits import DEADLINE_SECONDS


class Anybody(asyncssh.SSHServer):
    """Lets everybody in: what is proven of trust is proven with real guests."""

    def begin_auth(self, username: str) -> bool:
        del username
        return False


class GuestHouse:
    """Lends connections as `GuestConnections` does."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: set[asyncssh.SSHClientConnection] = set()
        self.asked = 0
        self.closed_by: SandboxdError | None = None
        """What keeps everybody out, if anything does."""

    @asynccontextmanager
    async def connected(
        self, sandbox: Sandbox, host: HostResources, *, user: str = "root"
    ) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """Lend a connection, unless nobody may have one."""
        del sandbox, host
        self.asked += 1
        if self.closed_by is not None:
            raise self.closed_by
        async with asyncssh.connect(
            "127.0.0.1", self._port, username=user, known_hosts=None, config=None, client_keys=None
        ) as connection:
            self._open.add(connection)
            try:
                yield connection
            finally:
                self._open.discard(connection)

    def cut(self) -> None:
        """Break every connection that stands."""
        for connection in self._open:
            connection.abort()


@asynccontextmanager
async def guest_house() -> AsyncIterator[GuestHouse]:
    """Serve shells on this machine until the block is left."""
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Anybody,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=_serve,
        encoding=None,
        line_editor=False,
    )
    try:
        yield GuestHouse(server.get_port())
    finally:
        server.close()
        await server.wait_closed()


async def _serve(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run a command as a login shell does; it outlives its connection."""
    run = _on_pipes if process.term_type is None else _on_terminal
    code = await run(process, process.command or "")
    with suppress(OSError):
        if code < 0:
            process.exit_with_signal(_NAMES.get(-code, "KILL"))
        else:
            process.exit(code)


async def _on_pipes(process: asyncssh.SSHServerProcess[bytes], command: str) -> int:
    child = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", command),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=_ENVIRONMENT,
        start_new_session=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    outs = [_Pump(child.stdout.read, process.stdout), _Pump(child.stderr.read, process.stderr)]
    pumps = [_Pump(process.stdin.read, child.stdin), *outs]
    code = await child.wait()
    await _emptied([(outs[0], child.stdout), (outs[1], child.stderr)])
    await _stopped(pumps)
    return code


async def _on_terminal(process: asyncssh.SSHServerProcess[bytes], command: str) -> int:
    """Run it on a terminal of the kind, the size and the modes that were asked for."""
    ours, its = pty.openpty()
    columns, rows, *_ = process.term_size
    resize(ours, columns=columns, rows=rows)
    attributes = termios.tcgetattr(its)
    for mode, flag in ((asyncssh.PTY_ECHO, termios.ECHO), (asyncssh.PTY_ICANON, termios.ICANON)):
        if process.term_modes.get(mode) == 0:
            attributes[3] &= ~flag
    termios.tcsetattr(its, termios.TCSANOW, attributes)
    child = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", command),
        stdin=its,
        stdout=its,
        stderr=its,
        env={**_ENVIRONMENT, "TERM": process.term_type or ""},
        start_new_session=True,
        preexec_fn=take_terminal,
    )
    os.close(its)
    reader, writer = await _ends(ours)

    async def typed(most: int) -> bytes:
        while True:
            try:
                return await process.stdin.read(most)
            except asyncssh.TerminalSizeChanged as changed:
                resize(ours, columns=changed.width, rows=changed.height)

    pumps = [_Pump(typed, writer), _Pump(reader.read, process.stdout)]
    try:
        code = await child.wait()
        # The kernel hangs it up when its session's leader ends, whoever is left on it.
        await asyncio.wait({pumps[1].task}, timeout=DEADLINE_SECONDS)
        await _stopped(pumps)
        return code
    finally:
        if not writer.transport.is_closing():
            writer.transport.abort()


async def _ends(terminal: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a terminal's outer side as streams, which close it."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await loop.connect_read_pipe(lambda: protocol, os.fdopen(terminal, "rb", 0))
    transport, flow = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()),
        os.fdopen(os.dup(terminal), "wb", 0),
    )
    return reader, asyncio.StreamWriter(transport, flow, reader, loop)


class _Pump:
    """Carries bytes until there are no more, or nobody takes them; `waits` for the next ones."""

    def __init__(
        self,
        read: Callable[[int], Awaitable[bytes]],
        write: asyncio.StreamWriter | asyncssh.SSHWriter[bytes],
    ) -> None:
        self._read = read
        self._write = write
        self.waits = False
        self.task = asyncio.ensure_future(self._carry())

    async def _next(self) -> bytes:
        self.waits = True
        try:
            return await self._read(65536)
        finally:
            self.waits = False

    async def _carry(self) -> None:
        with suppress(OSError, asyncssh.Error):
            while data := await self._next():
                self._write.write(data)
                await self._write.drain()
            if isinstance(self._write, asyncio.StreamWriter):
                self._write.close()


async def _emptied(outs: Sequence[tuple[_Pump, asyncio.StreamReader]]) -> None:
    """Return once all is carried on that a program wrote which has ended.

    What it left behind may hold its output open for ever, so the end of that is not waited for.
    """
    looks = 0
    while looks < _LOOKS:
        await asyncio.sleep(0.001)
        empty = all(pump.task.done() or (pump.waits and not _holds_more(out)) for pump, out in outs)
        looks = looks + 1 if empty else 0


def _holds_more(out: asyncio.StreamReader) -> bool:
    """Return whether something is in a pipe that was not read yet."""
    pipe = out._transport.get_extra_info("pipe")  # type: ignore[attr-defined]
    if pipe.closed:
        return False
    (count,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))
    return bool(count)


async def _stopped(pumps: Sequence[_Pump]) -> None:
    for pump in pumps:
        pump.task.cancel()
    await asyncio.gather(*(pump.task for pump in pumps), return_exceptions=True)


_LOOKS = 3
"""In a row: what was read in between has woken its pump by the next."""
_NAMES = {9: "KILL", 15: "TERM"}
_ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/"}
