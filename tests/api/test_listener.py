"""The socket is right before anybody can connect, and nobody can take it from the others."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import socket
import sys
import termios
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from scheduler.api.listener import Listener, serve
from scheduler.api.protocol import Bounds
from scheduler.errors import Invalid
from tests.api.conftest import client
from tests.jumps import in_jumps, pass_time
from tests.scarcity import answer_on, failed_accepts
from tests.waits import until

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
MARGIN_S = 600
"""What the machine may be slow by between two lines of a test."""
REQUEST_S, IDLE_S, SLOW_S = 3600, 7200, 14400
PATIENT = Bounds(request_seconds=REQUEST_S, idle_seconds=IDLE_S, slow_seconds=SLOW_S)
LONG, PART = 2 << 20, 256 << 10
"""Bytes: more than a connection holds, and as much as the kernel waits for before it takes more."""


class Echo:
    """Answers who asked; `/held` waits until it is told to go on."""

    def __init__(self) -> None:
        self.holding = asyncio.Event()
        self.release = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if request.url.path == "/held":
            self.holding.set()
            await self.release.wait()
        await request.body()
        peer = scope["state"]["peer"]
        response: Response = JSONResponse({"uid": peer.uid, "gid": peer.gid, "pid": peer.pid})
        await response(scope, receive, send)


@asynccontextmanager
async def raw(path: Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection spoken by hand."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        yield reader, writer
    finally:
        writer.close()


async def status_of(reader: asyncio.StreamReader) -> int:
    """Return the status of the answer that comes next."""
    async with asyncio.timeout(180):
        line = await reader.readline()
    return int(line.split()[1])


def write(path: Path, text: str) -> None:
    """Put a file where the socket is or will be."""
    path.unlink(missing_ok=True)
    path.write_text(text)


def read(path: Path) -> str:
    """Return what is in the file where the socket was or will be."""
    return path.read_text()


@pytest.fixture
async def listener(socket_path: Path) -> AsyncIterator[Listener]:
    async with serve(Echo(), socket_path, group=None) as served:
        yield served


async def test_the_peer_is_who_the_kernel_says(listener: Listener) -> None:
    async with client(listener.path) as http:
        told = (await http.get("/")).json()
    assert told == {"uid": os.getuid(), "gid": os.getgid(), "pid": os.getpid()}


async def test_the_socket_of_a_living_daemon_is_left_alone(listener: Listener) -> None:
    with pytest.raises(Invalid, match="somebody answers") as caught:
        async with serve(Echo(), listener.path, group=None):
            raise AssertionError("took the socket of another daemon")
    assert caught.value.remedy
    async with client(listener.path) as http:
        assert (await http.get("/")).status_code == 200


async def test_a_daemon_too_busy_to_accept_is_left_alone(socket_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(socket_path))
        busy.listen(0)
        waiting.connect(str(socket_path))
        with pytest.raises(Invalid, match="somebody answers"):
            async with serve(Echo(), socket_path, group=None):
                raise AssertionError("took the socket of another daemon")


async def test_what_a_dead_daemon_left_is_replaced(socket_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(socket_path))
    left.close()
    async with serve(Echo(), socket_path, group=None), client(socket_path) as http:
        assert (await http.get("/")).status_code == 200


async def test_what_is_no_socket_is_left_alone(socket_path: Path) -> None:
    write(socket_path, "precious")
    with pytest.raises(Invalid, match="no socket"):
        async with serve(Echo(), socket_path, group=None):
            pass
    assert read(socket_path) == "precious"


async def test_a_path_beyond_the_kernel_s_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="107 bytes"):
        async with serve(Echo(), tmp_path / ("s" * 108), group=None):
            pass


async def test_a_place_where_no_socket_can_be_is_told() -> None:
    path = Path("/proc/admin.sock")
    with pytest.raises(Invalid, match="cannot be made"):
        async with serve(Echo(), path, group=None):
            pass


async def test_another_one_s_socket_is_not_unlinked(socket_path: Path) -> None:
    async with serve(Echo(), socket_path, group=None):
        write(socket_path, "somebody else's")
    assert read(socket_path) == "somebody else's"


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (b"", [408]),
        (REQUEST[:-4], [408]),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf", []),
        (REQUEST + REQUEST[:10], [200, 408]),
    ],
    ids=["silence", "half a head", "half a body", "half of a further one"],
)
def test_who_does_not_send_on_is_cut_off(
    socket_path: Path, sent: bytes, statuses: list[int]
) -> None:
    async def test() -> None:
        async with (
            serve(Echo(), socket_path, group=None, bounds=PATIENT) as listener,
            raw(socket_path) as (reader, writer),
        ):
            await until(lambda: listener.connections == 1)
            writer.write(sent)
            await is_cut_off_in_time(listener, REQUEST_S)
            assert await statuses_of(reader) == statuses

    in_jumps(test())


def test_a_further_request_is_bounded_too(socket_path: Path) -> None:
    async def test() -> None:
        async with (
            serve(Echo(), socket_path, group=None, bounds=PATIENT) as listener,
            raw(socket_path) as (reader, writer),
        ):
            writer.write(REQUEST)
            assert await status_of(reader) == 200
            await reader.readuntil(b"}")
            writer.write(REQUEST[:10])
            await is_cut_off_in_time(listener, REQUEST_S)
            assert await statuses_of(reader) == [408]

    in_jumps(test())


async def test_an_endless_head_is_refused(listener: Listener) -> None:
    async with raw(listener.path) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nx: " + b"y" * 200_000)
        assert await status_of(reader) == 431


async def test_what_is_not_http_is_refused(listener: Listener) -> None:
    async with raw(listener.path) as (reader, writer):
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        assert await status_of(reader) == 400


async def test_one_user_cannot_take_every_connection(socket_path: Path) -> None:
    bounds = Bounds(connections_per_user=3, request_seconds=30)
    async with serve(Echo(), socket_path, group=None, bounds=bounds) as listener:
        async with raw(socket_path), raw(socket_path), raw(socket_path):
            await until(lambda: listener.connections == 3)
            async with raw(socket_path) as (reader, _writer):
                assert await status_of(reader) == 503
        await until(lambda: listener.connections == 0)
        async with client(socket_path) as http:
            assert (await http.get("/")).status_code == 200


async def test_all_users_together_are_bounded(socket_path: Path) -> None:
    async with (
        serve(Echo(), socket_path, group=None, bounds=Bounds(connections=1)) as listener,
        raw(socket_path),
    ):
        await until(lambda: listener.connections == 1)
        async with raw(socket_path) as (reader, _writer):
            assert await status_of(reader) == 503


async def test_stopping_lets_a_request_end(socket_path: Path) -> None:
    echo = Echo()
    async with client(socket_path) as http:
        async with serve(echo, socket_path, group=None, on_stop=echo.release.set):
            asked = asyncio.create_task(http.get("/held"))
            await echo.holding.wait()
        assert (await asked).status_code == 200


async def test_stopping_does_not_wait_for_ever(socket_path: Path) -> None:
    echo = Echo()
    async with asyncio.timeout(180):
        async with serve(echo, socket_path, group=None, bounds=Bounds(stop_seconds=1)):
            reader, writer = await asyncio.open_unix_connection(str(socket_path))
            writer.write(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n")
            await echo.holding.wait()
    assert await until_closed(reader)
    writer.close()


async def test_the_end_of_the_server_can_be_awaited(socket_path: Path) -> None:
    async with serve(Echo(), socket_path, group=None) as listener:
        ended = asyncio.create_task(listener.ended())
        await asyncio.sleep(0)
        assert not ended.done()
    await ended


async def long_answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as many bytes as the path says, all of them at once or in two parts."""
    _, way, told = scope["path"].split("/")
    length = int(told)

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(2):
            yield b"x" * (length // 2)

    response = StreamingResponse(parts()) if way == "parts" else Response(b"x" * length)
    await response(scope, receive, send)


@contextmanager
def deaf(path: Path, asked: str, more: str = "") -> Iterator[socket.socket]:
    """A client that asks and reads nothing."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(f"GET {asked} HTTP/1.1\r\nhost: x\r\n{more}\r\n".encode())
        yield client


async def is_cut_off_in_time(listener: Listener, seconds: float) -> None:
    """Prove that the one client there is keeps its connection for as long as it may."""
    await pass_time(seconds - MARGIN_S)
    assert listener.connections == 1
    await pass_time(2 * MARGIN_S)
    await until(lambda: listener.connections == 0)


def unread(client: socket.socket) -> int:
    """Return how many bytes have come that nobody has read."""
    return int.from_bytes(fcntl.ioctl(client, termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.mark.parametrize("way", ["whole", "parts"])
@pytest.mark.parametrize("more", ["", "connection: close\r\n"])
def test_who_does_not_read_is_cut_off(socket_path: Path, way: str, more: str) -> None:
    async def test() -> None:
        async with serve(long_answer, socket_path, group=None, bounds=PATIENT) as listener:
            with deaf(socket_path, f"/{way}/{LONG}", more) as client:
                await until(lambda: unread(client) > 0)
                await is_cut_off_in_time(listener, SLOW_S)

    in_jumps(test())


def test_the_last_few_bytes_are_not_waited_for_either(socket_path: Path) -> None:
    """They stop nobody from sending, and a closed connection from ending."""

    async def test() -> None:
        async with serve(long_answer, socket_path, group=None, bounds=PATIENT) as listener:
            with deaf(socket_path, f"/whole/{LONG}") as client:
                await until(lambda: unread(client) > 0)
                held = unread(client)
            await until(lambda: listener.connections == 0)
            with deaf(socket_path, f"/whole/{held}") as client:
                await until(lambda: unread(client) > 0)
                await pass_time(IDLE_S + 1)
                await is_cut_off_in_time(listener, SLOW_S)

    in_jumps(test())


def test_who_reads_slowly_gets_all_of_it(socket_path: Path) -> None:
    async def test() -> None:
        async with (
            serve(long_answer, socket_path, group=None, bounds=PATIENT) as listener,
            raw(socket_path) as (reader, writer),
        ):
            writer.write(f"GET /whole/{LONG} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            for _ in range(LONG // PART):
                await pass_time(SLOW_S - MARGIN_S)
                assert len(await reader.readexactly(PART)) == PART
            await until(lambda: listener.connections == 0)

    in_jumps(test())


async def statuses_of(reader: asyncio.StreamReader) -> list[int]:
    """Return the statuses of all answers that come until the other side hangs up."""
    async with asyncio.timeout(180):
        told = await reader.read()
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", told)]


async def until_closed(reader: asyncio.StreamReader) -> bool:
    """Return once the other side has hung up."""
    async with asyncio.timeout(180):
        while await reader.read(65536):
            pass
    return True


async def test_without_descriptors_it_tries_once_and_waits(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        async with serve(Echo(), tmp_path / "s", None):
            assert await failed_accepts(one, str(tmp_path / "s"), REQUEST) == 1
            assert (await answer_on(one)).startswith(b"HTTP/1.1 200 ")
