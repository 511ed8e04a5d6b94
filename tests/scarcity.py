"""Takes every free file descriptor from this process, and counts what its event loop then does."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import socket
from asyncio.constants import ACCEPT_RETRY_DELAY
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.waits import until

TURNS = 20


@contextmanager
def no_free_descriptors() -> Iterator[None]:
    """Let nothing be opened until the block is left; what is open stays so."""
    # What is garbage would be closed at any moment, and be a free one then.
    gc.collect()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def failed_accepts(one: socket.socket, address: Any, request: bytes) -> int:
    """Ask on a connection that cannot be accepted; return how often that was tried in a row."""
    loop = asyncio.get_running_loop()
    failures: list[tuple[float, dict[str, Any]]] = []
    loop.set_exception_handler(lambda _, context: failures.append((loop.time(), context)))
    try:
        with no_free_descriptors():
            one.connect(address)
            one.sendall(request)
            await until(lambda: bool(failures))
            for _ in range(TURNS):
                await asyncio.sleep(0)
    finally:
        loop.set_exception_handler(None)
    assert all("out of system resource" in context["message"] for _, context in failures)
    # Where the machine is busy, what it waits before it tries again may be over by now.
    return sum(at < failures[0][0] + ACCEPT_RETRY_DELAY for at, _ in failures)


async def answer_on(one: socket.socket) -> bytes:
    """Return what comes on a connection once it was accepted."""
    one.setblocking(False)
    async with asyncio.timeout(180):
        return await asyncio.get_running_loop().sock_recv(one, 4096)
