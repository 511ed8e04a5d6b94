"""Byte proxies between a daemon and its hosts' libvirtd: a network that stalls, resets and loses.

All proxies of a test share one event loop in a thread of its own, so that a test that waits holds
nobody up. Only as much of libvirt's protocol is read as it takes to lose one named answer.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from enum import Enum, IntEnum, auto
from pathlib import Path
from typing import Any, Self

from tests.fleet.farm import FarmHost

CHUNK = 65536
HEADER = 28
"""Bytes of a message's head: length, program, version, procedure, type, serial and status."""
REPLY = 1
LIMIT_S = 60.0


class Manner(Enum):
    """How a proxy treats what passes."""

    PASS = auto()
    STALL = auto()
    """Nothing moves, and nothing is lost: all of it goes on with PASS."""
    BLACKHOLE = auto()
    """Everything sent is taken and lost, either way; a connection that lost bytes is dead.

    It breaks with the next PASS, as ssh's keepalive has it broken on a real way: libvirt's own
    knows nothing of a connection that is being opened, which would hang for ever.
    """
    RESET = auto()
    """Connections break, those there and those to come."""


class Procedure(IntEnum):
    """Calls of libvirt's remote protocol, by number, that change something on a host."""

    DOMAIN_CREATE = 9
    DOMAIN_DESTROY = 12
    STORAGE_VOL_CREATE_XML = 93
    STORAGE_VOL_DELETE = 94
    DOMAIN_UNDEFINE_FLAGS = 231
    DOMAIN_DEFINE_XML_FLAGS = 350


class Proxy:
    """One host's proxy; used by the loop's thread only."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._manner = Manner.PASS
        self._moving = asyncio.Event()
        self._moving.set()
        self._connections: set[_Bridge] = set()
        self._lose: Procedure | None = None

    def behave(self, manner: Manner) -> None:
        """Treat every connection so from now on."""
        self._manner = manner
        if manner is Manner.STALL:
            self._moving.clear()
        else:
            self._moving.set()
        if manner is Manner.RESET:
            self.reset()
        elif manner is Manner.PASS:
            self._break_the_dead()

    def reset(self) -> None:
        """Break every connection there is."""
        for bridge in tuple(self._connections):
            bridge.cut()

    def _break_the_dead(self) -> None:
        for bridge in tuple(self._connections):
            if bridge.is_dead:
                bridge.cut()

    def lose_answer(self, procedure: Procedure) -> None:
        """Break the connection on which the next answer to this call comes, in its place."""
        self._lose = procedure

    @property
    def has_lost(self) -> bool:
        """Whether the answer that was to be lost has come and is lost."""
        return self._lose is None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection to its end."""
        if self._manner is Manner.RESET:
            writer.transport.abort()
            return
        bridge = _Bridge(self, writer)
        self._connections.add(bridge)
        try:
            await bridge.carry(reader, self._target)
        finally:
            self._connections.discard(bridge)

    async def lets_pass(self) -> bool:
        """Wait while nothing moves; return whether what was read may go on."""
        await self._moving.wait()
        return self._manner is not Manner.BLACKHOLE

    def loses(self, message: bytes) -> bool:
        """Return, once, whether this is the answer that is to be lost."""
        procedure, kind = _integer(message, 12), _integer(message, 16)
        if kind != REPLY or procedure != self._lose:
            return False
        self._lose = None
        return True


class _Bridge:
    """One connection through a proxy."""

    def __init__(self, proxy: Proxy, near: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._near = near
        self._far: asyncio.StreamWriter | None = None
        self.is_dead = False

    async def carry(self, near: asyncio.StreamReader, target: Path) -> None:
        """Dial the host and carry bytes both ways until either side ends."""
        try:
            far, self._far = await asyncio.open_unix_connection(str(target))
            ways = (self._requests(near, self._far), self._answers(far))
            pumps = [asyncio.ensure_future(way) for way in ways]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass  # the host is gone, which is for the daemon to notice
        finally:
            self.cut()

    def cut(self) -> None:
        """Break both halves."""
        for writer in (self._near, self._far):
            if writer is not None:
                writer.transport.abort()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            await self._pass(data, writer)

    async def _answers(self, reader: asyncio.StreamReader) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(HEADER)
                message = head + await reader.readexactly(_integer(head, 0) - HEADER)
                if self._proxy.loses(message):
                    return
                await self._pass(message, self._near)

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        if not await self._proxy.lets_pass():
            self.is_dead = True
        if not self.is_dead:
            writer.write(data)
            await writer.drain()


class Proxies:
    """The proxies of a test, one before each host; call it from the test's thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._servers: list[asyncio.Server] = []
        self._proxies: dict[str, Proxy] = {}

    def before(self, host: FarmHost) -> str:
        """Put a proxy before a host and return the URI that leads through it."""
        path = self._directory / f"{host.name}.sock"

        async def serve() -> None:
            proxy = self._proxies[host.name] = Proxy(host.socket)
            self._servers.append(await asyncio.start_unix_server(proxy.serve, path))

        self._run(serve())
        return f"test+unix:///default?socket={path}"

    def tell(self, host: FarmHost, what: Callable[[Proxy], object]) -> object:
        """Do something to the proxy before a host, and return what that returns."""

        async def tell() -> object:
            return what(self._proxies[host.name])

        return self._run(tell())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT_S)
        self._loop.close()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for proxy in self._proxies.values():
            proxy.behave(Manner.RESET)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _run(self, work: Coroutine[Any, Any, object]) -> object:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LIMIT_S)


def _integer(message: bytes, at: int) -> int:
    return int.from_bytes(message[at : at + 4], "big")
