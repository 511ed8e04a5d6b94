"""A guest to ask over SSH without a machine: commands run here, by the tools of choice."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh

READ_BYTES = 1 << 16


class _Anybody(asyncssh.SSHServer):
    """Lets everybody in."""

    def begin_auth(self, username: str) -> bool:
        return False


@asynccontextmanager
async def guest_here(tools: Path | None) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """Yield a connection to a server that runs commands on this machine, with `tools` for PATH."""
    path = str(tools) if tools else os.environ["PATH"]

    async def run(process: asyncssh.SSHServerProcess[bytes]) -> None:
        child = await asyncio.create_subprocess_exec(
            *("sh", "-c", process.command or ""),
            env={"PATH": path},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(await process.stdin.read())
        child.stdin.write_eof()
        try:
            while block := await child.stdout.read(READ_BYTES):
                process.stdout.write(block)
                await process.stdout.drain()
        except (asyncssh.Error, OSError):
            # Whoever asked has heard enough, as sshd would find when it writes on.
            child.terminate()
        process.exit(await child.wait())

    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        server_factory=_Anybody,
        process_factory=run,
        encoding=None,
    )
    try:
        async with asyncssh.connect(
            "127.0.0.1", server.get_port(), known_hosts=None, username="root", config=None
        ) as connection:
            yield connection
    finally:
        server.close()
        await server.wait_closed()
