"""Requests that are too much: refused or cut off, at a bounded cost, to nobody else.

The real application on the real listener; the flood is spoken by hand, by many at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx2
import pytest

from scheduler.api.app import build_app
from scheduler.api.listener import Listener, serve
from scheduler.api.protocol import Bounds
from tests.api.conftest import client
from tests.clocks import ManualClock
from tests.jumps import in_jumps, pass_time
from tests.service.planes import Plane, database, plane
from tests.waits import until

MIB = 1 << 20
HUGE = 100 * MIB
AT_ONCE = 4
MORE_AT_MOST_KB = 64 * 1024
"""What the process may grow by under floods of HUGE bodies: a fraction of a single one."""
BOUNDS = Bounds(request_seconds=60)
HEAD = b"POST /v1/sandboxes HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
GET = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"

FLOODS: dict[str, tuple[bytes, bytes, set[int]]] = {
    "a declared body": (HEAD + b"content-length: %d\r\n\r\n" % HUGE, b"x" * MIB, {413}),
    "a chunked body": (
        HEAD + b"transfer-encoding: chunked\r\n\r\n",
        b"%x\r\n" % MIB + b"x" * MIB + b"\r\n",
        {413},
    ),
    "an endless header": (b"GET / HTTP/1.1\r\nx: ", b"y" * MIB, {431}),
    "endless headers": (b"GET / HTTP/1.1\r\n", b"x-y: z\r\n" * (MIB // 8), {431}),
    "an endless target": (b"GET /", b"a" * MIB, {431, 400, 414}),
    "garbage after a request": (GET, b"\x00\xff garbage \r\n" * (MIB // 16), {200, 400}),
}
HALVES: dict[str, bytes] = {
    "nothing": b"",
    "half a request line": b"GET /hea",
    "half a head": GET[:-2],
    "half a body": HEAD + b'content-length: 99\r\n\r\n{"agent_id": ',
    "half a chunk": HEAD + b'transfer-encoding: chunked\r\n\r\n63\r\n{"agent_id": ',
}


def served(cloud: Plane, path: Path) -> AbstractAsyncContextManager[Listener]:
    """The real application, that waits a minute for a request's end."""
    app = build_app(cloud.services)
    return serve(app, path, group=None, bounds=BOUNDS, on_stop=cloud.journal.close)


@pytest.fixture
async def listener(cloud: Plane, socket_path: Path) -> AsyncIterator[Listener]:
    async with served(cloud, socket_path) as listening:
        yield listening


@pytest.fixture
async def http(listener: Listener) -> AsyncIterator[httpx2.AsyncClient]:
    """Somebody else."""
    async with client(listener.path) as connected:
        yield connected


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood_is_refused_and_costs_nobody_else_anything(
    listener: Listener, http: httpx2.AsyncClient, flood: str
) -> None:
    head, more, statuses = FLOODS[flood]
    before = memory_kb()
    floods = [asyncio.create_task(pour(listener.path, head, more)) for _ in range(AT_ONCE)]
    while not all(task.done() for task in floods):
        assert (await http.get("/v1/hosts")).status_code == 200
    for task in floods:
        answer = await task
        assert not answer or int(answer.split()[1]) in statuses, answer[:200]
    assert memory_kb() - before < MORE_AT_MOST_KB
    await until(lambda: listener.connections <= 1, what="the flood's connections to be closed")


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("leaves", [True, False])
def test_half_a_request_is_cut_off_and_changes_nothing(
    tmp_path: Path, socket_path: Path, clock: ManualClock, half: str, leaves: bool
) -> None:
    async def test() -> None:
        async with (
            plane(database(tmp_path), clock) as cloud,
            served(cloud, socket_path) as listener,
            client(socket_path) as http,
        ):
            writers = [await begin(socket_path, HALVES[half]) for _ in range(AT_ONCE)]
            await until(lambda: listener.connections == AT_ONCE)
            if leaves:
                for writer in writers:
                    writer.close()
            assert (await http.get("/v1/sandboxes")).json()["items"] == []
            if not leaves:
                assert listener.connections == AT_ONCE + 1
                await pass_time(BOUNDS.request_seconds)
            await until(lambda: listener.connections <= 1, what="the halves to be cut off")
            assert (await http.get("/v1/sandboxes")).json()["items"] == []
            for writer in writers:
                writer.close()

    in_jumps(test())


async def begin(path: Path, half: bytes) -> asyncio.StreamWriter:
    """Send what is only a part of a request."""
    _, writer = await asyncio.open_unix_connection(str(path))
    writer.write(half)
    await writer.drain()
    return writer


async def pour(path: Path, head: bytes, more: bytes) -> bytes:
    """Send `head` and then `more` until HUGE bytes are gone or nobody takes them; the answer."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    answering = asyncio.create_task(reader.read(4096))
    try:
        writer.write(head)
        for _ in range(HUGE // MIB):
            writer.write(more)
            await writer.drain()
    except ConnectionError:
        pass  # cut off, as is right
    try:
        async with asyncio.timeout(180):
            return await answering
    except ConnectionError:
        return b""
    finally:
        writer.close()


def memory_kb() -> int:
    """Return what this process holds in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (held,) = (line.split()[1] for line in lines if line.startswith("VmRSS:"))
    return int(held)
