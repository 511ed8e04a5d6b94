"""A connection that stops speaking HTTP: from then on its bytes go both ways as they are.

uvicorn knows only WebSockets to switch to, whose frames and masks would cost a copy of every byte
and a library; so the protocol of the admin socket lets go of a connection itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl

from scheduler.api.bodies import header
from scheduler.api.problems import Refused

PROTOCOL = "sandboxd-tunnel"
"""What the request's Upgrade header names."""
MOST_UNREAD = 256 * 1024
_SWITCHED = (
    f"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {PROTOCOL}\r\n\r\n"
).encode("ascii")


class Switched:
    """The client's end of such a connection; the protocol feeds it."""

    def __init__(self, transport: asyncio.Transport, flow: FlowControl) -> None:
        self._transport = transport
        self._flow = flow
        self._unread = bytearray()
        self._ended = self._lost = False
        self._news = asyncio.Event()

    def begin(self) -> None:
        """Tell the client that what it sends now is carried."""
        self._transport.write(_SWITCHED)

    def feed(self, data: bytes) -> None:
        """Take what the client sent, and no more of it while too much is unread."""
        self._unread += data
        self._news.set()
        if len(self._unread) > MOST_UNREAD:
            self._flow.pause_reading()

    def feed_eof(self) -> None:
        """Note that the client sends no more."""
        self._ended = True
        self._news.set()

    def feed_loss(self) -> None:
        """Note that the client is gone."""
        self._lost = True
        self._news.set()

    async def read(self) -> bytes:
        """Return what the client sent; nothing once it sends no more."""
        while not self._unread:
            if self._lost or self._transport.is_closing():
                raise ConnectionResetError("the client is gone")
            if self._ended:
                return b""
            self._news.clear()
            await self._news.wait()
        data = bytes(self._unread)
        self._unread.clear()
        self._flow.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        """Send to the client, waiting while it does not keep up."""
        if self._transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self._transport.write(data)
        await self._flow.drain()

    def write_eof(self) -> None:
        """Say that no more will be sent."""
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    def close(self) -> None:
        """Let go of the client after what was sent."""
        self._transport.close()


class Upgrade:
    """A client that asks to leave HTTP, and is let out of it by `accept`."""

    def __init__(self, scope: Scope, what: str, remedy: str) -> None:
        asked = (header(scope, b"upgrade") or b"").decode("latin-1").lower()
        switch: Callable[[], Switched] | None = scope["state"].get("switch")
        if asked != PROTOCOL or switch is None:
            raise Refused(
                HTTPStatus.UPGRADE_REQUIRED,
                "upgrade_required",
                f"{what} is no plain request: it needs Upgrade: {PROTOCOL}",
                remedy,
            )
        self._switch = switch
        self._pipe: Switched | None = None

    def accept(self) -> None:
        """Leave HTTP."""
        self._pipe = self._switch()
        self._pipe.begin()

    @property
    def _open(self) -> Switched:
        assert self._pipe is not None
        return self._pipe

    async def read(self) -> bytes:
        """Return what the client sent."""
        return await self._open.read()

    async def write(self, data: bytes) -> None:
        """Send to the client."""
        await self._open.write(data)

    def write_eof(self) -> None:
        """Say that no more will be sent."""
        self._open.write_eof()

    def close(self) -> None:
        """Let go of the client."""
        self._open.close()


class Over(Response):
    """What is left to answer once a connection has left HTTP: nothing, it is gone."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send nothing."""

    def __init__(self) -> None:
        super().__init__(None, HTTPStatus.SWITCHING_PROTOCOLS)
