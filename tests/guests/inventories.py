"""A guest to ask over SSH without a machine: commands run here, by the tools of choice."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncssh

from tests.waits import DEADLINE_SECONDS

READ_BYTES = 1 << 16


class _Anybody(asyncssh.SSHServer):
    """Lets everybody in."""

    def begin_auth(self, username: str) -> bool:
        return False


async def _run(process: asyncssh.SSHServerProcess[bytes], path: str) -> None:
    """Run a command here, as long as somebody listens."""
    child = await asyncio.create_subprocess_exec(
        *("sh", "-c", process.command or ""),
        env={"PATH": path},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(await process.stdin.read())
    child.stdin.write_eof()
    heard = False
    try:
        while block := await child.stdout.read(READ_BYTES):
            process.stdout.write(block)
            await process.stdout.drain()
        heard = True
    except (asyncssh.Error, OSError):
        pass  # whoever asked has heard enough, as sshd would find when it writes on
    finally:
        if not heard:
            # With all that it started: what holds the pipe open keeps it from being closed.
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        await asyncio.shield(child.communicate())
    process.exit(child.returncode or 0)


@asynccontextmanager
async def guest_here(tools: Path | None) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """Yield a connection to a server that runs commands on this machine, with `tools` for PATH."""
    path = str(tools) if tools else os.environ["PATH"]

    async def serve(process: asyncssh.SSHServerProcess[bytes]) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        running.add(serving)
        serving.add_done_callback(running.discard)
        await _run(process, path)

    running: set[asyncio.Task[None]] = set()

    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        server_factory=_Anybody,
        process_factory=serve,
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
        if running:
            await asyncio.wait(running, timeout=DEADLINE_SECONDS)
