"""A listener that answers GET /metrics and nothing else.

Prometheus cannot scrape a Unix socket, and the administrator's interface must not be reachable over
TCP, so metrics have a listener of their own. It is small enough to bound everything: the request's
head, its time, the connections. The page is rendered on a thread of its own, once at a time, since
thousands of hosts take longer than the event loop may stand still.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from scheduler.errors import Unavailable
from scheduler.metrics.page import CONTENT_TYPE

PATH = "/metrics"

Render = Callable[[], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one scraper may take."""

    head_bytes: int = 8192
    head_seconds: float = 5.0
    answer_seconds: float = 30.0
    connections: int = 16


@asynccontextmanager
async def serve(
    render: Render, host: str, port: int, bounds: Bounds | None = None
) -> AsyncIterator[tuple[str, int]]:
    """Serve the page on an IP address until the block is left; yields where it listens.

    Port 0 takes any free port. Raises `Unavailable` when the address cannot be used.
    """
    bounds = bounds or Bounds()
    bound = _bind(host, port)
    thread = ThreadPoolExecutor(1, thread_name_prefix="metrics")
    answerer = _Answerer(render, thread, bounds)
    # Without free descriptors the event loop fails, logs and comes back `backlog` times a turn.
    server = await asyncio.start_server(
        answerer.answer, sock=bound, limit=bounds.head_bytes, backlog=1
    )
    bound.listen(bounds.connections)
    try:
        name = bound.getsockname()
        yield str(name[0]), int(name[1])
    finally:
        server.close()
        await answerer.aclose()
        await server.wait_closed()
        thread.shutdown(wait=True)


def _bind(host: str, port: int) -> socket.socket:
    v6 = isinstance(ip_address(host), IPv6Address)
    bound = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise Unavailable(
            f"metrics cannot listen on {host} port {port}: {error.strerror}",
            remedy="give another address in metrics.listen, or set metrics.enabled to false",
        ) from error
    return bound


class _Answerer:
    """Answers connections, a few at a time, one request each."""

    def __init__(self, render: Render, thread: ThreadPoolExecutor, bounds: Bounds) -> None:
        self._render = render
        self._bounds = bounds
        self._thread = thread
        self._rendering: asyncio.Future[bytes] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        """End the connections that are still open."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection, or hang up on one too many."""
        task = asyncio.current_task()
        if task is None or len(self._tasks) >= self._bounds.connections:
            writer.close()
            return
        self._tasks.add(task)
        try:
            # Only `aclose` cancels, and asyncio would log a connection that ended so as a failure.
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                async with asyncio.timeout(self._bounds.answer_seconds):
                    writer.write(await self._reply(reader))
                    writer.close()
                    await writer.wait_closed()
        finally:
            self._tasks.discard(task)
            # Closing alone would wait for ever for a reader that does not read.
            writer.transport.abort()

    async def _reply(self, reader: asyncio.StreamReader) -> bytes:
        try:
            async with asyncio.timeout(self._bounds.head_seconds):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _response("431 Request Header Fields Too Large", b"the head is too large\n")
        except TimeoutError:
            return _response("408 Request Timeout", b"the request took too long\n")
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _response("400 Bad Request", b"this is no HTTP/1 request\n")
        return await self._answer_to(words[0], words[1].partition("?")[0])

    async def _answer_to(self, method: str, path: str) -> bytes:
        if path != PATH:
            return _response("404 Not Found", b"there is only /metrics here\n")
        if method not in ("GET", "HEAD"):
            return _response(
                "405 Method Not Allowed", b"only GET and HEAD\n", "Allow: GET, HEAD\r\n"
            )
        page = await self._page()
        return _response("200 OK", page, body=method == "GET", kind=CONTENT_TYPE)

    async def _page(self) -> bytes:
        """Return the page; those who ask while it is being rendered share it."""
        if self._rendering is None or self._rendering.done():
            loop = asyncio.get_running_loop()
            self._rendering = loop.run_in_executor(self._thread, self._render)
        return await asyncio.shield(self._rendering)


def _response(
    status: str,
    content: bytes,
    more: str = "",
    *,
    body: bool = True,
    kind: str = "text/plain; charset=utf-8",
) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
        f"{more}Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (content if body else b"")
