"""Server-sent events, straight from the journal or from a command's output.

A reader that does not keep up is disconnected rather than skipped: by the protocol, or here where
so little is sent that buffers would hold it for hours. It comes back with the number of the last
event it has seen and misses nothing. Nothing is buffered for it but one page.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from scheduler.api.answers import EVENT
from scheduler.api.problems import Refused
from scheduler.api.protocol import Line
from scheduler.model import Event
from scheduler.service.events import Passage

QUIET_SECONDS = 15.0
"""A comment is sent after this long without an event, to find out who is gone."""
QUIET = b":"
"""What a comment begins with."""
DEAF_AFTER = 2
"""After so many quiet times in a row, through which something lay unread, a reader is cut off."""
NO_LINE = Line(unread_bytes=lambda: 0, cut_off=lambda: None)
"""Of whoever asks within this process."""
MEDIA_TYPE = "text/event-stream"
EVENTS = {MEDIA_TYPE: {"schema": {"type": "string"}}}
"""What the OpenAPI document says of a stream."""


def resumed_after(request: Request, pattern: re.Pattern[str], what: str) -> str | None:
    """Return what Last-Event-ID says, None without one; raises `Refused` unless it is `what`."""
    given = request.headers.get("last-event-id")
    if given is not None and not pattern.fullmatch(given):
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "invalid",
            f"Last-Event-ID is not {what}",
            "send the id of the last event received, or leave the header out",
        )
    return given


class MessageStream(Response):
    """Sends messages until the reader or the daemon goes, or there are no more."""

    def __init__(self, messages: AsyncGenerator[bytes, None]) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(
            {
                "content-type": MEDIA_TYPE,
                "cache-control": "no-store",
                "x-accel-buffering": "no",
            }
        )
        self._messages = messages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until one side ends it."""
        reader = asyncio.create_task(_gone(receive))
        line: Line = scope["state"].get("line", NO_LINE)
        writer = asyncio.create_task(self._write(send, line))
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reader, writer):
                task.cancel()
            ended = await asyncio.gather(reader, writer, return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome

    async def _write(self, send: Send, line: Line) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        await send(_part(b": connected\n\n"))
        async with aclosing(self._messages) as messages:
            deaf = 0
            async for message in messages:
                # For a whole while nothing was sent, and there is still something to be read.
                deaf = deaf + 1 if message.startswith(QUIET) and line.unread_bytes() else 0
                if deaf >= DEAF_AFTER:
                    line.cut_off()
                    return
                await send(_part(message))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class EventStream(MessageStream):
    """Sends pages of events, and before them the number that they follow."""

    def __init__(self, since: int, passages: AsyncGenerator[Passage, None]) -> None:
        super().__init__(_of_events(since, passages))


async def _of_events(
    since: int, passages: AsyncGenerator[Passage, None]
) -> AsyncGenerator[bytes, None]:
    async with aclosing(passages):
        # Else one who wants only news and is cut off before any could not say since when.
        yield f"id: {since}\n\n".encode()
        async for passage in passages:
            yield b"".join(map(_message, passage.events)) or _quiet(passage.through)


def _part(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _quiet(through: int) -> bytes:
    """Return a message without an event that moves on the number a reader resumes from.

    Else one who waits for something rare would come back with a number that is long gone.
    """
    return f": quiet\nid: {through}\n\n".encode()


def _message(event: Event) -> bytes:
    return f"id: {event.seq}\nevent: {event.kind}\ndata: {EVENT.answer(event).text}\n\n".encode()
