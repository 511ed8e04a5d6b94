"""A house of guests for tests without hosts: an SSH server in this process that runs real shells.

Every sandbox's guest is this machine. The way there can be cut, and connections that stand too.
"""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import asyncssh

from scheduler.errors import SandboxdError
from scheduler.model import HostResources, Sandbox


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
    child = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        process.command or "",
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env={"PATH": os.environ["PATH"], "HOME": "/"},
        start_new_session=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    pumps = [
        asyncio.ensure_future(_pump(process.stdin.read, child.stdin)),
        asyncio.ensure_future(_pump(child.stdout.read, process.stdout)),
        asyncio.ensure_future(_pump(child.stderr.read, process.stderr)),
    ]
    code = await child.wait()
    # What is written already is read; a child's child may hold its output open for ever.
    await asyncio.wait(pumps[1:], timeout=0.5)
    for pump in pumps:
        pump.cancel()
    await asyncio.gather(*pumps, return_exceptions=True)
    with suppress(OSError):
        if code < 0:
            process.exit_with_signal(_NAMES.get(-code, "KILL"))
        else:
            process.exit(code)


async def _pump(
    read: Callable[[int], Awaitable[bytes]],
    write: asyncio.StreamWriter | asyncssh.SSHWriter[bytes],
) -> None:
    with suppress(OSError, asyncssh.Error):
        while data := await read(65536):
            write.write(data)
            await write.drain()
        if isinstance(write, asyncio.StreamWriter):
            write.close()


_NAMES = {9: "KILL", 15: "TERM"}
