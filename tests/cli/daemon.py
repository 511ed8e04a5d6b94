"""A daemon for faults only: real HTTP on a real Unix socket, with answers a sound one never gives.

What a sound daemon answers is proven with the real application (`fleet.py`); here connections
break, answers are cut, late or nonsense, and requests are recorded as they came.
"""

from __future__ import annotations

import json
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


Reply = Callable[["Handler"], None]


@dataclass
class FaultyDaemon:
    """Answers each path with its replies in turn, the last one for ever."""

    path: Path
    seen: list[Seen] = field(default_factory=list)
    replies: dict[tuple[str, str], list[Reply]] = field(default_factory=dict)
    released: threading.Event = field(default_factory=threading.Event)
    """Ends whatever a reply is holding back."""

    def on(self, method: str, path: str, *replies: Reply) -> Self:
        """Say how a path answers, query strings aside; STREAM is a GET for an event stream."""
        self.replies[method, path] = list(replies)
        return self

    def take(self, method: str, path: str) -> Reply:
        """Return the next reply."""
        replies = self.replies.get((method, path), [nothing_here])
        return replies.pop(0) if len(replies) > 1 else replies[0]


class Handler(BaseHTTPRequestHandler):
    """One request on one connection."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.close_connection = True

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: standard error belongs to the test."""

    def serve(self) -> None:
        """Record the request and reply as told."""
        length = int(self.headers.get("Content-Length", 0))
        sent = self.rfile.read(length) if length else b""
        is_json = "json" in self.headers.get("Content-Type", "json")
        body = json.loads(sent) if sent and is_json else None
        daemon = self.server.daemon
        daemon.seen.append(Seen(self.command, self.path, dict(self.headers), body))
        streamed = self.headers.get("Accept") == "text/event-stream"
        method = "STREAM" if streamed else self.command
        daemon.take(method, self.path.partition("?")[0])(self)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = serve

    def send(self, status: int, content_type: str, body: bytes) -> None:
        """Send one whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def sound(document: object, status: int = 200) -> Reply:
    """Return a proper answer."""
    kind = "application/problem+json" if status >= 400 else "application/json"
    return lambda handler: handler.send(status, kind, json.dumps(document).encode())


def text(body: str, status: int = 200, content_type: str = "text/plain") -> Reply:
    """Return an answer that is no JSON."""
    return lambda handler: handler.send(status, content_type, body.encode())


def nothing_here(handler: Handler) -> None:
    """Answer 404 as a proper problem."""
    sound({"code": "not_found", "detail": "there is nothing at this path"}, 404)(handler)


def reset(handler: Handler) -> None:
    """Break the connection after the request, before any answer."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.close()


def half(handler: Handler) -> None:
    """Promise more of a body than is sent."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"items": [')


def not_http(handler: Handler) -> None:
    """Answer as an SSH server would."""
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")


def held(handler: Handler) -> None:
    """Answer nothing until the daemon is released."""
    handler.server.daemon.released.wait(240)


def later(seconds: float, document: object) -> Reply:
    """Return this document after so many seconds."""

    def reply(handler: Handler) -> None:
        handler.server.daemon.released.wait(seconds)
        sound(document)(handler)

    return reply


def stream(*events: Mapping[str, object], hold: bool = True) -> Reply:
    """Return an event stream of these events that then stays open, or says goodbye."""

    def reply(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        for event in events:
            handler.wfile.write(f"id: {event['seq']}\ndata: {json.dumps(event)}\n\n".encode())
            handler.wfile.flush()
        if hold:
            held(handler)

    return reply


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, daemon: FaultyDaemon) -> None:
        self.daemon = daemon
        super().__init__(str(daemon.path), Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that hang up are part of the play."""


@contextmanager
def serving(daemon: FaultyDaemon) -> Iterator[FaultyDaemon]:
    """Serve on the daemon's socket until the block is left; the socket's file stays."""
    with _Server(daemon) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield daemon
        finally:
            daemon.released.set()
            server.shutdown()
            thread.join()
