"""What the admin socket serves from its first moment: that the daemon starts, until it has.

A database that is checked, copied and upgraded may take minutes. Nobody is to think meanwhile that
there is no daemon, and to start another or to give up.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from scheduler.api.problems import problem
from scheduler.api.traces import Traced, unheard
from scheduler.clock import Clock

ALIVE = "/healthz"
AGAIN_SECONDS = 1


class Front:
    """Answers 503 `starting` to everybody until `open` hands it the application."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begun = clock.monotonic()
        self._app: ASGIApp = Traced(self._starting, unheard)
        self._end_streams: Callable[[], None] = _nothing

    def open(self, app: ASGIApp, *, end_streams: Callable[[], None]) -> None:
        """Serve `app` from now on; `end_streams` ends what would keep the socket from closing."""
        self._app, self._end_streams = app, end_streams

    def end_streams(self) -> None:
        """End what the application streams, if there is one yet."""
        self._end_streams()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._app(scope, receive, send)

    async def _starting(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _alive() if scope["path"] == ALIVE else self._not_yet()
        await answer(scope, receive, send)

    def _not_yet(self) -> Response:
        seconds = self._clock.monotonic() - self._begun
        return problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "starting",
            f"the daemon has been starting for {seconds:.0f} s; nothing was done",
            remedy="wait: a large database that is checked, copied and upgraded takes minutes, of"
            " which systemctl status sandboxd and the daemon's log tell",
            extensions={"retry_after": AGAIN_SECONDS},
            # What a body is still being sent of is read by nobody.
            headers={"retry-after": str(AGAIN_SECONDS), "connection": "close"},
        )


def _alive() -> Response:
    return Response(json.dumps({"status": "ok"}), media_type="application/json")


def _nothing() -> None:
    pass
