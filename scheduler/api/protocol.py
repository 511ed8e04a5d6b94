"""HTTP/1.1 on the admin socket: uvicorn's protocol, with the bounds that it leaves out.

uvicorn waits for a request's end without limit, keeps headers of any length, waits for ever for a
client that does not read, and takes any number of connections. Here each request must have arrived
whole within a time and a size, and one user can never take the connections of all others.
"""

from __future__ import annotations

import asyncio
import fcntl
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from termios import TIOCOUTQ
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from scheduler.api.peers import Peer, peer_of
from scheduler.api.problems import problem
from scheduler.api.switching import Switched

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much one client may take; times in seconds, sizes in bytes."""

    request_seconds: float = 10.0
    """From the connection, or the first byte of a further request, to the request's end."""
    upload_idle_seconds: float = 60.0
    """The longest pause between two parts of an upload, which may take as long as it likes."""
    idle_seconds: int = 15
    """How long a connection is kept between requests."""
    slow_seconds: float = 30.0
    """A client that takes nothing of what was sent to it for this long is disconnected."""
    head_bytes: int = 64 * 1024
    connections: int = 768
    connections_per_user: int = 256
    stop_seconds: int = 5
    """How long requests in flight may take to end when the daemon stops."""


@dataclass(frozen=True, slots=True)
class Line:
    """The connection, for those who stream on it."""

    unread_bytes: Callable[[], int]
    cut_off: Callable[[], None]


class Gate:
    """Counts the connections of each user and says who may come in."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._held: Counter[int] = Counter()

    def enter(self, uid: int) -> bool:
        """Count one more connection of `uid`, unless there are too many."""
        bounds = self.bounds
        if self._held[uid] >= bounds.connections_per_user or len(self) >= bounds.connections:
            return False
        self._held[uid] += 1
        return True

    def leave(self, uid: int) -> None:
        """Take back what `enter` counted."""
        self._held[uid] -= 1
        if not self._held[uid]:
            del self._held[uid]

    def __len__(self) -> int:
        return self._held.total()


class AdminProtocol(HttpToolsProtocol):
    """One connection; every request's scope carries the peer in `state`."""

    def __init__(self, *, gate: Gate, app_state: dict[str, Any], **rest: Any) -> None:
        super().__init__(app_state=app_state, **rest)
        self._gate = gate
        self._peer: Peer | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._in_head = False
        self._head_bytes = 0
        self._uploading = False
        self._feeding = False
        self._switched: Switched | None = None
        self._answering: RequestResponseCycle | None = None
        """What is answered now; later requests of the connection wait in `pipeline`."""

    def switch(self) -> Switched:
        """Leave HTTP: what comes on the connection is no request any more."""
        # The cycle takes this for a client that left: it sends nothing more, and says nothing.
        self.cycle.response_started = self.cycle.response_complete = True
        self.cycle.disconnected = True
        self._switched = Switched(self.transport, self.flow)
        return self._switched

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Identify the peer and let it in, or turn it away with 503."""
        peer = peer_of(transport.get_extra_info("socket"))
        if not self._gate.enter(peer.uid):
            self.transport = transport
            transport.write(_TURNED_AWAY)
            transport.close()
            return
        self._peer = peer
        ours = {"peer": peer, "switch": self.switch, "line": Line(self.unread_bytes, self.cut_off)}
        self.app_state = {**self.app_state, **ours}
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place to somebody else."""
        self._disarm()
        self._expect_nothing()
        if self._peer is not None:
            self._gate.leave(self._peer.uid)
            self._peer = None
        if self._switched is not None:
            self._switched.feed_loss()
        # Only the newest is told of it else, which waits behind a stream that nobody reads.
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Note that the client has said all; one that left HTTP may still be told something."""
        if self._switched is None:
            return None
        self._switched.feed_eof()
        return True

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, within the bounds."""
        if self._switched is not None:
            self._switched.feed(data)
            return
        if (self._deadline is None or self._uploading) and not self._feeding:
            self._arm()
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > self._gate.bounds.head_bytes:
                self._hang_up(_HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Begin to count, also for a request that came along with the one before."""
        super().on_message_begin()
        self._in_head = True
        self._uploading = False
        self._head_bytes = 0
        if self._deadline is None:
            self._arm()

    def on_headers_complete(self) -> None:
        """Begin the request, its head being whole."""
        self._in_head = False
        super().on_headers_complete()
        # An upload may be long; only the silence in it is bounded.
        self._uploading = (self.scope["method"], self.scope["path"][-8:]) == ("PUT", "/content")
        if self._uploading:
            self._arm()
        # What feeds a command in a guest may be as slow as the guest; its time limit ends it.
        self._feeding = (self.scope["method"], self.scope["path"][-6:]) == ("PUT", "/input")
        if self._feeding:
            self._disarm()

    def on_response_complete(self) -> None:
        """Go on; a request that is still being sent has no more time than any other."""
        if self._feeding:
            self._feeding = False
            self._arm()
        super().on_response_complete()
        if self.transport.is_closing():
            self._expect_reading()

    def on_message_complete(self) -> None:
        """Stop counting: the request has arrived."""
        self._uploading = self._feeding = False
        self._disarm()
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Send no more for now, and wait for one who does not read no longer than the bound."""
        super().pause_writing()
        # Whoever has left HTTP may rest as long as they like, as the user of a terminal does.
        if self._switched is None:
            self._expect_reading()

    def resume_writing(self) -> None:
        """Go on sending: the client reads."""
        if not self.transport.is_closing():
            self._expect_nothing()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection on which nothing more was asked."""
        super().timeout_keep_alive_handler()
        self._expect_reading()

    def unread_bytes(self) -> int:
        """Return how much the client has not taken yet of what was sent, as the kernel counts."""
        if self.transport.is_closing():
            return 0
        held = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), TIOCOUTQ, bytes(4))
        return self.transport.get_write_buffer_size() + int.from_bytes(held, sys.byteorder)

    def cut_off(self) -> None:
        """End the connection of a client that does not read, and all that waits for it."""
        left = self.unread_bytes()
        log.info("a client that does not read is cut off", peer=self._peer, unread_bytes=left)
        self.transport.abort()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: the route answers."""

    def _arm(self) -> None:
        self._disarm()
        bounds = self._gate.bounds
        seconds = bounds.upload_idle_seconds if self._uploading else bounds.request_seconds
        self._deadline = self.loop.call_later(seconds, self._hang_up, _TOO_SLOW)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _hang_up(self, answer: bytes) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(answer)
        self.transport.close()
        self._expect_reading()

    def _expect_reading(self) -> None:
        """Let the client take something of what is left for it, or lose the connection.

        To be asked for after each closing too: that waits until all is read.
        """
        if self._patience is None and self._peer is not None:
            left = self.transport.get_write_buffer_size()
            seconds = self._gate.bounds.slow_seconds
            self._patience = self.loop.call_later(seconds, self._judge_reader, left)

    def _expect_nothing(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _judge_reader(self, before: int) -> None:
        self._patience = None
        left = self.transport.get_write_buffer_size()
        if left < before:
            self._expect_reading()
            return
        self.cut_off()


def _answer(status: int, phrase: str, code: str, detail: str, remedy: str) -> bytes:
    body = bytes(problem(status, code, detail, remedy=remedy).body)
    head = (
        f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/problem+json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


_TURNED_AWAY = _answer(
    503,
    "Service Unavailable",
    "too_many_connections",
    "this user, or all together, hold too many connections",
    "close idle connections and try again",
)
_TOO_SLOW = _answer(
    408,
    "Request Timeout",
    "request_timeout",
    "the request did not arrive in time",
    "send head and body without a pause",
)
_HEAD_TOO_LARGE = _answer(
    431,
    "Request Header Fields Too Large",
    "head_too_large",
    "the request line and headers are too large",
    "send less than 64 KiB of headers",
)
