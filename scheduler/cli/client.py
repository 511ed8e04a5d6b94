"""The HTTP client: JSON over a Unix socket, on nothing but the standard library.

Every POST carries an Idempotency-Key, so that a request whose answer got lost may be sent again;
that is done once, and only when the connection broke before an answer began.
"""

from __future__ import annotations

import http.client
import json
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from scheduler.cli.event_stream import EventStream
from scheduler.cli.exits import Exit
from scheduler.cli.failures import Failure, Refused, refused

Document = dict[str, Any]
Query = Mapping[str, object]

MOST_WAITS = 3
"""So often may one request wait for as long as it asks to."""
_WAIT = re.compile(r"([0-9]+)(ms|s|m|)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "": 1.0}
STARTING_SECONDS = 30.0
"""How long a daemon that starts is waited for: it has not done what it was asked."""
_STARTING_AGAIN_SECONDS = 0.2
_REPEATABLE = frozenset({"GET", "POST", "DELETE"})
_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A complete answer below status 400."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def document(self) -> Any:
        """Return the body's JSON, None when there is no body."""
        if not self.body:
            return None
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise Failure(
                f"the daemon's answer is not JSON: {error}",
                hint="is the socket another program's? see --socket",
            ) from error


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """Requests to one daemon; a connection each, since a command makes only a few."""

    def __init__(
        self,
        socket_path: str,
        *,
        answer_seconds: float = 60,
        starting_seconds: float = STARTING_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.socket_path = socket_path
        self._answer_seconds = answer_seconds
        self._starting_seconds = starting_seconds
        """What is left of the time that its start is waited for."""
        self._sleep = sleep

    def impatient(self) -> Client:
        """Return a client that takes a daemon that starts for one that does not answer."""
        return Client(self.socket_path, answer_seconds=self._answer_seconds, starting_seconds=0)

    def get(self, path: str, **query: object) -> Any:
        """Return the document at a path; raises `Failure`."""
        return self.request("GET", path, query=query).document()

    def post(
        self, path: str, body: object = None, *, key: str | None = None, **query: object
    ) -> Any:
        """Send a POST and return its answer's document; raises `Failure`."""
        return self.request("POST", path, body=body, query=query, key=key).document()

    def patch(self, path: str, body: object, *, revision: object) -> Any:
        """Change fields of the revision that was read; another one's change is a conflict."""
        headers = {"If-Match": f'"{revision}"'}
        return self.request("PATCH", path, body=body, headers=headers).document()

    def upload(self, path: str, content: Iterable[bytes], size: int, **query: object) -> Any:
        """Send `size` bytes part by part and return the answer's document; raises `Failure`.

        It is sent once: what has arrived is asked for before it is gone on with.
        """
        headers = {
            "Accept": "application/json",
            "Connection": "close",
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size),
        }
        try:
            answer = self._answer("PUT", _target(path, query), content, headers)
        except ConnectionError as error:
            raise _lost("PUT", self.socket_path) from error
        return answer.document()

    def feed(self, path: str, content: Iterable[bytes]) -> Any:
        """Send what comes, however slowly, and return the answer's document; raises `Failure`."""
        headers = {
            "Accept": "application/json",
            "Connection": "close",
            "Content-Type": "application/octet-stream",
        }
        try:
            return self._answer("PUT", path, content, headers, seconds=None).document()
        except ConnectionError as error:
            raise _lost("PUT", self.socket_path) from error

    def delete(self, path: str, **query: object) -> Any:
        """Send a DELETE and return its answer's document; raises `Failure`."""
        return self.request("DELETE", path, query=query).document()

    def items(
        self, path: str, query: Query | None = None, *, at_most: int | None = None
    ) -> Iterator[Document]:
        """Yield the items of a listing, page by page, all of them or `at_most` so many."""
        cursor, left = None, at_most
        while True:
            limit = _PAGE if left is None else min(left, _PAGE)
            page = self.get(path, **{**(query or {}), "limit": limit, "cursor": cursor})
            yield from page["items"]
            left = None if left is None else left - len(page["items"])
            cursor = page.get("next_cursor")
            if cursor is None or (left is not None and left <= 0):
                return

    def events(self, *, idle_seconds: float, **query: object) -> EventStream:
        """Return the journal as a stream, not yet connected, that notices silence."""
        return self.stream("/v1/events", idle_seconds=idle_seconds, **query)

    def stream(self, path: str, *, idle_seconds: float, **query: object) -> EventStream:
        """Return what a path streams, not yet connected; it goes on where a connection broke."""

        def connect(last_id: str | None) -> http.client.HTTPResponse:
            headers = {"Accept": "text/event-stream", "Connection": "close"}
            if last_id is not None:
                headers["Last-Event-ID"] = last_id
            connection = _UnixConnection(self.socket_path, idle_seconds)
            target = _target(path, query)
            try:
                answer = self._exchange(connection, "GET", target, None, headers)
            except ConnectionError as error:
                raise _lost("GET", self.socket_path) from error
            _raise_for_status(answer)
            return answer

        def read_on(last_id: str) -> Iterator[Document]:
            return self.items(path, {**query, "since": last_id, "last": None})

        return EventStream(connect, read_on)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> Answer:
        """Send any request and return its answer; raises `Failure` for status 400 and above."""
        content = None if body is None else json.dumps(body).encode()
        sent = {"Accept": "application/json", "Connection": "close", **(headers or {})}
        if content is not None:
            sent["Content-Type"] = "application/json"
        if method == "POST" and "idempotency-key" not in map(str.lower, sent):
            sent["Idempotency-Key"] = key or secrets.token_hex(16)
        attempts = 2 if method in _REPEATABLE else 1
        while True:
            attempts -= 1
            try:
                target, patience = _target(path, query or {}), self._patience(query or {})
                return self._answer(method, target, content, sent, seconds=patience)
            except ConnectionError as error:
                if not attempts:
                    raise _lost(method, self.socket_path) from error
            except KeyboardInterrupt:
                if method == "GET":
                    raise
                raise _interrupted() from None
            except Refused as error:
                if not self._awaits_start(error):
                    raise
                attempts += 1

    def _awaits_start(self, refusal: Refused) -> bool:
        """Return whether to ask again, after a moment: the daemon was starting."""
        if refusal.code != "starting" or self._starting_seconds <= 0:
            return False
        self._starting_seconds -= _STARTING_AGAIN_SECONDS
        self._sleep(_STARTING_AGAIN_SECONDS)
        return True

    def _answer(
        self,
        method: str,
        target: str,
        content: bytes | Iterable[bytes] | None,
        headers: Mapping[str, str],
        *,
        seconds: float | None = 0,
    ) -> Answer:
        patience = self._answer_seconds if seconds == 0 else seconds
        connection = _UnixConnection(self.socket_path, patience)
        with closing(self._exchange(connection, method, target, content, headers)) as answer:
            _raise_for_status(answer)
            return Answer(status=answer.status, headers=dict(answer.headers), body=_read(answer))

    def _patience(self, query: Query) -> float:
        """Return how long an answer may take in seconds: what is waited for there comes on top.

        What is healed is looked at, mended and looked at again, each for as long.
        """
        asked = _WAIT.fullmatch(str(query.get("wait") or ""))
        seconds = int(asked[1]) * _UNITS[asked[2]] if asked else 0.0
        return self._answer_seconds + MOST_WAITS * seconds

    def _exchange(
        self,
        connection: _UnixConnection,
        method: str,
        target: str,
        content: bytes | Iterable[bytes] | None,
        headers: Mapping[str, str],
    ) -> http.client.HTTPResponse:
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise unreachable(self.socket_path, error) from error
        connected = connection.sock
        try:
            connection.request(method, target, body=content, headers=dict(headers))
            answer = connection.getresponse()
        except TimeoutError as error:
            connection.close()
            raise _late(connection.timeout) from error
        except (http.client.HTTPException, ConnectionError) as error:
            connection.close()
            if isinstance(error, ConnectionError):
                raise
            raise _garbled(error) from error
        # From here on the answer alone keeps the socket open.
        connected.close()
        return answer


def _target(path: str, query: Query) -> str:
    pairs = [(name, value) for name, value in query.items() if value is not None]
    if not pairs:
        return path
    texts = [(name, _query_text(value)) for name, value in pairs]
    return f"{path}{'&' if '?' in path else '?'}{urlencode(texts, doseq=True)}"


def _query_text(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, list | tuple) else str(value)


def _raise_for_status(answer: http.client.HTTPResponse) -> None:
    if answer.status >= 400:
        with closing(answer):
            raise refused(answer.status, answer.headers.get_content_type(), _read(answer))


def _read(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read()
    except (http.client.HTTPException, OSError) as error:
        raise _garbled(error) from error


def _late(seconds: float | None) -> Failure:
    return Failure(
        f"the daemon took the request and did not answer within {seconds:g} s",
        exit_code=Exit.UNREACHABLE,
        hint="is it stuck? its log tells: journalctl -u sandboxd",
    )


def _garbled(error: Exception) -> Failure:
    return Failure(
        f"the daemon's answer broke off or is not HTTP: {type(error).__name__} {error}",
        exit_code=Exit.UNREACHABLE,
        hint="the request may have been carried out; look before you repeat it",
    )


def _interrupted() -> Failure:
    return Failure(
        "interrupted before the daemon answered",
        exit_code=Exit.INTERRUPTED,
        reasons=("the request may have been carried out",),
        hint="look before you repeat it",
    )


def _lost(method: str, path: str) -> Failure:
    return Failure(
        f"the connection to {path} broke before an answer came",
        exit_code=Exit.UNREACHABLE,
        reasons=() if method == "GET" else ("whether the request was carried out is unknown",),
        hint="see whether the daemon restarts: journalctl -u sandboxd",
    )


def unreachable(path: str, error: OSError) -> Failure:
    """Return why the daemon's socket could not be used, and what helps."""
    if isinstance(error, PermissionError):
        return Failure(
            f"you may not open the daemon's socket {path}",
            exit_code=Exit.NOT_AUTHORISED,
            hint="join the group sandboxd-admin, or run this as root",
        )
    hints = {
        FileNotFoundError: "start it (systemctl start sandboxd) unless it is just starting, or name"
        " its socket: --socket PATH or SANDBOXD_SOCKET",
        ConnectionRefusedError: "a socket is left, but nobody listens: systemctl start sandboxd",
    }
    return Failure(
        f"no daemon answers at {path}: {error.strerror or error}",
        exit_code=Exit.UNREACHABLE,
        hint=hints.get(type(error), "is the path a socket? see --socket"),
    )
