"""The listener answers /metrics and nothing else, whatever it is sent."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace

import pytest

from scheduler.errors import Unavailable
from scheduler.metrics.listener import Bounds, serve
from tests.scarcity import answer_on, failed_accepts
from tests.waits import until

PAGE = b"# HELP x y\nx 1\n"
PATIENT = Bounds(head_seconds=600.0, answer_seconds=600.0)
"""Where it is not what is tried that somebody is slow: this process may be."""


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serve(lambda: PAGE, "127.0.0.1", 0, PATIENT) as (_, bound):
        yield bound


@asynccontextmanager
async def connected(
    port: int, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def talk(port: int, request: bytes, *, half_close: bool = False) -> bytes:
    """Send bytes and return everything that comes back until the other side hangs up."""
    async with connected(port) as (reader, writer), asyncio.timeout(60):
        writer.write(request)
        if half_close:
            writer.write_eof()
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


async def test_a_scrape_gets_the_page(port: int) -> None:
    answer = await talk(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: text/plain; version=0.0.4; charset=utf-8" in head
    assert f"Content-Length: {len(PAGE)}".encode() in head
    assert body == PAGE


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"HEAD /metrics HTTP/1.1", b"200"),
        (b"GET /metrics?name[]=x HTTP/1.0", b"200"),
        (b"GET / HTTP/1.1", b"404"),
        (b"GET /v1/hosts HTTP/1.1", b"404"),
        (b"GET /metrics/../v1/hosts HTTP/1.1", b"404"),
        (b"POST /metrics HTTP/1.1", b"405"),
        (b"CONNECT x:1 HTTP/1.1", b"404"),
        (b"nonsense", b"400"),
        (b"GET /metrics HTTP/2.0", b"400"),
        (b"\x16\x03\x01\x02\x00\x01", b"400"),
    ],
)
async def test_everything_else_is_refused(port: int, request_line: bytes, status: bytes) -> None:
    answer = await talk(port, request_line + b"\r\n\r\n")
    assert answer.split(b" ")[1] == status
    assert b"Connection: close" in answer
    if status == b"405":
        assert b"Allow: GET, HEAD" in answer
    if request_line.startswith(b"HEAD"):
        assert answer.endswith(b"\r\n\r\n")


async def test_a_head_without_end_is_cut_off(port: int) -> None:
    answer = await talk(port, b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 20_000)
    assert answer == b"" or b"431" in answer


async def test_a_head_that_breaks_off_is_dropped(port: int) -> None:
    assert await talk(port, b"GET /metr", half_close=True) == b""


async def test_a_slow_head_is_cut_off() -> None:
    async with serve(lambda: PAGE, "127.0.0.1", 0, Bounds(head_seconds=0.05)) as (_, port):
        assert b"408" in await talk(port, b"GET /metrics")


async def test_a_reader_that_does_not_read_is_cut_off() -> None:
    page = b"x" * 50_000_000
    slow = replace(PATIENT, answer_seconds=0.2, connections=1)
    async with (
        serve(lambda: page, "127.0.0.1", 0, slow) as (_, port),
        connected(port) as (reader, writer),
    ):
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        await answered(port)
        got = 0
        with suppress(ConnectionResetError):
            while chunk := await reader.read(1 << 20):
                got += len(chunk)
        assert got < len(page)


async def answered(port: int) -> None:
    """Return once the listener has a connection free again."""
    async with asyncio.timeout(60):
        for _ in range(100_000):
            if await talk(port, b"GET / HTTP/1.1\r\n\r\n"):
                return
    raise AssertionError("the connections that ended still count")


async def test_one_connection_too_many_is_hung_up_on() -> None:
    request = b"GET /metrics HTTP/1.1\r\n\r\n"
    async with serve(lambda: PAGE, "127.0.0.1", 0, replace(PATIENT, connections=2)) as (_, port):
        async with connected(port), connected(port):
            assert await talk(port, request) == b""
        await answered(port)


async def test_scrapes_at_the_same_time_share_one_rendering() -> None:
    begun, go_on, rendered = threading.Event(), threading.Event(), []

    def render() -> bytes:
        rendered.append(threading.current_thread().name)
        begun.set()
        assert go_on.wait(60)
        return PAGE

    async with serve(render, "127.0.0.1", 0, PATIENT) as (_, port), AsyncExitStack() as stack:
        readers = []
        for _ in range(5):
            reader, writer = await stack.enter_async_context(connected(port))
            writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
            readers.append(reader)
        await until(begun.is_set)
        # Answered after those that came before it have asked for the page.
        refused = await talk(port, b"GET / HTTP/1.1\r\n\r\n")
        go_on.set()
        assert all([(await reader.read()).endswith(PAGE) for reader in readers])
    assert b"404" in refused
    (thread,) = rendered
    assert thread.startswith("metrics")


async def test_an_open_connection_does_not_keep_the_listener_from_closing() -> None:
    logged: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        async with serve(lambda: PAGE, "127.0.0.1", 0, PATIENT) as (_, port):
            reader, _writer = await stack.enter_async_context(connected(port))
            await talk(port, b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
    assert logged == [], "that it was open is nobody's fault"


async def test_an_address_in_use_is_refused_with_a_remedy(port: int) -> None:
    with pytest.raises(Unavailable) as refused:
        async with serve(lambda: PAGE, "127.0.0.1", port):
            pass
    assert str(port) in refused.value.message
    assert refused.value.remedy is not None
    assert "metrics.listen" in refused.value.remedy


def has_ipv6() -> bool:
    """Return whether this machine has an IPv6 address of its own, by asking it and not us."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_ipv6_works_where_there_is_some() -> None:
    async with (
        serve(lambda: PAGE, "::1", 0, PATIENT) as (host, port),
        connected(port, host) as (reader, writer),
    ):
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert (await reader.read()).endswith(PAGE)


async def test_without_descriptors_it_tries_once_and_waits(port: int) -> None:
    with socket.socket() as one:
        request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
        assert await failed_accepts(one, ("127.0.0.1", port), request) == 1
        assert (await answer_on(one)).startswith(b"HTTP/1.1 200 OK")
