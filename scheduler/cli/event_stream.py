"""The journal as server-sent events: parsed, and resumed where it broke off."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from http.client import HTTPResponse

Connect = Callable[[str | None], "HTTPResponse"]
"""Opens the stream after a given event id."""
ReadOn = Callable[[str], Iterator[dict[str, Any]]]
"""Reads what there is after an event, without waiting for more."""


@dataclass(frozen=True, slots=True)
class Message:
    """One server-sent event; without data it only tells where to resume."""

    id: str | None
    data: str


class EventStream:
    """Yields events as documents, and None whenever it was silent for a while.

    A timeout, a broken connection and the server's goodbye are alike: the stream is opened again
    after the last event seen, so nothing is lost or doubled. A daemon that is gone fails that.
    """

    def __init__(self, connect: Connect, read_on: ReadOn) -> None:
        self._connect = connect
        self._read_on = read_on
        self._last_id: str | None = None
        self._answer: HTTPResponse | None = None

    def open(self) -> Self:
        """Connect now rather than at the first iteration, so that nothing later is missed."""
        if self._answer is None:
            self._answer = self._connect(self._last_id)
        return self

    def close(self) -> None:
        """Let go of the connection; iterating again resumes."""
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def rest(self) -> Iterator[dict[str, Any]]:
        """Yield what has happened since the last event that was seen, and end."""
        if self._last_id is not None:
            yield from self._read_on(self._last_id)

    def __iter__(self) -> Iterator[dict[str, Any] | None]:
        while True:
            yield from self._connected()
            self.close()
            yield None

    def _connected(self) -> Iterator[dict[str, Any] | None]:
        from http.client import HTTPException

        self.open()
        assert self._answer is not None
        try:
            for message in messages(_lines(self._answer)):
                self._last_id = message.id or self._last_id
                if message.data:
                    yield json.loads(message.data)
        except (OSError, HTTPException):
            # A timeout too: this is how silence shows.
            return


def messages(lines: Iterable[str]) -> Iterator[Message]:
    """Parse lines of `text/event-stream`; comments and unknown fields are skipped."""
    identity: str | None = None
    told: str | None = None
    data: list[str] = []
    for line in lines:
        if not line:
            if data or identity != told:
                yield Message(identity, "\n".join(data))
            told, data = identity, []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "id":
            identity = value


def _lines(answer: HTTPResponse) -> Iterator[str]:
    while line := answer.readline():
        yield line.decode("utf-8", "replace").rstrip("\r\n")
