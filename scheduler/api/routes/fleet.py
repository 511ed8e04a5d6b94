"""/v1/events, /healthz and /readyz: what happens, and whether the daemon is at work."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from scheduler.api import answers
from scheduler.api.answers import Form, Listing
from scheduler.api.event_stream import EVENTS, MEDIA_TYPE, QUIET_SECONDS, EventStream, resumed_after
from scheduler.api.problems import DOCUMENTED, Refused, problem
from scheduler.api.queries import EventQuery, moment_of
from scheduler.api.routing import Operation
from scheduler.model import Event
from scheduler.service.services import Services
from scheduler.store import EventFilter

Missing = Callable[[], Sequence[str]]
"""Returns what is still missing before the daemon can be called ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A word on the daemon's health."""

    status: str


_NUMBER = re.compile(r"[0-9]{1,18}")
_STATUS: Form[Status] = Form(Status)


class FleetRoutes:
    """What can be asked about the whole."""

    def __init__(self, services: Services, missing: Missing) -> None:
        self._events = services.events
        self._hosts = services.hosts
        self._readiness = services.readiness
        self._missing = missing

    def operations(self) -> tuple[Operation, ...]:
        """Return the table."""
        return (
            Operation(
                method="GET",
                path="/v1/events",
                endpoint=self.events,
                answer=Listing[Event],
                responses={200: {"content": EVENTS}},
            ),
            Operation(method="GET", path="/healthz", endpoint=self.health, answer=Status),
            Operation(
                method="GET",
                path="/readyz",
                endpoint=self.readiness,
                answer=Status,
                responses={503: {**DOCUMENTED, "description": "Not ready."}},
            ),
        )

    async def events(self, request: Request, query: Annotated[EventQuery, Query()]) -> Response:
        """List events, or stream them when `text/event-stream` is accepted.

        Either begins after `since`, or with the `last` so many, or after `cursor`; a stream that
        is resumed begins after Last-Event-ID. Where some that followed are gone, 410 says so.
        `since_time` and `until_time` narrow it to a period, as far as that is still kept.
        """
        wanted = EventFilter(
            sandbox_id=query.sandbox_id,
            host_id=await self._host_id(query),
            kind=query.kind,
            actor=query.actor,
            since_time=moment_of(query.since_time),
            until_time=moment_of(query.until_time),
        )
        since = await self._since(query, wanted)
        if MEDIA_TYPE in request.headers.get("accept", ""):
            resumed = resumed_after(request, _NUMBER, "the number of an event")
            since = since if resumed is None else int(resumed)
            if query.until_time is not None:
                raise _endless()
            await self._events.check(since)
            passages = self._events.follow(since, wanted, quiet_seconds=QUIET_SECONDS)
            return EventStream(since, passages)
        page = await self._events.page(since, wanted, query.limit)
        more = str(page.through) if page.full else None
        return answers.EVENTS.respond(Listing(items=page.events, next_cursor=more))

    async def health(self) -> Response:
        """Say that the daemon answers."""
        return _STATUS.respond(Status(status="ok"))

    async def readiness(self) -> Response:
        """Say whether the daemon does its work: the store takes writes and the loops run."""
        missing = list(self._missing())
        if missing:
            return problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "not_ready",
                f"not ready yet: {', '.join(missing)}",
                remedy="wait a moment; if it stays so, the daemon's log tells why",
                extensions={"missing": missing, "retry_after": 1},
                headers={"retry-after": "1"},
            )
        await self._readiness.check()
        return _STATUS.respond(Status(status="ready"))

    async def _since(self, query: EventQuery, wanted: EventFilter) -> int:
        if query.cursor is not None:
            return int(query.cursor)
        if query.last is not None:
            return await self._events.before_last(query.last, wanted)
        return query.since

    async def _host_id(self, query: EventQuery) -> str | None:
        if query.host is None:
            return query.host_id
        return (await self._hosts.get(query.host)).id


def _endless() -> Refused:
    return Refused(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "invalid",
        "a stream goes on with what happens and has no end, but until_time is given",
        "leave until_time out, or ask for a listing: without Accept: text/event-stream",
    )
