"""Every request under an id: in its answer, in its problem document and in what is logged of it.

A caller's own id is taken over when it is short and plain, so that one id follows a request through
several programs; whatever else is sent is not repeated anywhere, and an id is made.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from scheduler import ids
from scheduler.api.bodies import header

HEADER = "X-Request-Id"
PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"
OPERATION = "operation"
"""Under this key of its state a request's scope has the path of its operation, as a template."""
NO_OPERATION = "other"

Answered = Callable[[str, str, int, float], None]
"""Told of each answer: the operation's path and method, the status, and seconds until it began."""

_NAME = HEADER.lower().encode()
_GIVEN = re.compile(PATTERN.encode())


def unheard(_path: str, _method: str, _status: int, _seconds: float) -> None:
    """Tell nobody."""


class Traced:
    """Names every request of an application, and tells how long its answer was waited for."""

    def __init__(self, app: ASGIApp, answered: Answered) -> None:
        self._app = app
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        request_id = _id_of(scope)
        clock = asyncio.get_running_loop()
        begun = clock.time()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                named = (_NAME, request_id.encode())
                message = {**message, "headers": [*message["headers"], named]}
                self._tell(scope, message["status"], clock.time() - begun)
            await send(message)

        with bound_contextvars(request_id=request_id):
            await self._app(scope, receive, sending)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        if _waits(scope["query_string"]):
            # It took as long as it was asked to.
            return
        path = scope["state"].get(OPERATION)
        method = NO_OPERATION if path is None else scope["method"]
        self._answered(path or NO_OPERATION, method, status, seconds)


def _id_of(scope: Scope) -> str:
    given = header(scope, _NAME)
    if given is not None and _GIVEN.fullmatch(given):
        return given.decode()
    return ids.new_id(ids.Prefix.REQUEST)


def _waits(query: bytes) -> bool:
    return any(part.startswith(b"wait=") for part in query.split(b"&"))
