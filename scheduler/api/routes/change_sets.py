"""/v1/change-sets: code made of diffs, its archive, and its verification on a fresh clone."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import Path, Query, Request
from starlette.responses import FileResponse, Response

from scheduler.api.answers import Form, Listing
from scheduler.api.callers import once
from scheduler.api.queries import ChangeSetQuery, Wait, wait_seconds
from scheduler.api.routing import Operation, Row, table
from scheduler.service.change_set_reports import ChangeSetReport
from scheduler.service.requests import MakeChangeSet
from scheduler.service.services import Services
from scheduler.store import Page

_CHANGE_SET: Form[ChangeSetReport] = Form(ChangeSetReport)
_ACCEPTED: Form[ChangeSetReport] = Form(ChangeSetReport, HTTPStatus.ACCEPTED)
_MADE: Form[ChangeSetReport] = Form(
    ChangeSetReport, HTTPStatus.ACCEPTED, headers={"location": "/v1/change-sets/{0.id}"}
)
_CHANGE_SETS: Form[Page[ChangeSetReport]] = Form(Page[ChangeSetReport])

_ALL = "/v1/change-sets"
_ONE = "/v1/change-sets/{id}"
_OF_DIFF = "/v1/diffs/{id}/change-sets"
_ARCHIVE = "application/gzip"

ChangeSetId = Annotated[str, Path(pattern=r"^CHG-[0-9A-Z]{1,40}$", description="Its id.")]
DiffId = Annotated[str, Path(pattern=r"^DIF-[0-9A-Z]{1,40}$", description="A diff's id.")]


class ChangeSetRoutes:
    """What can be asked about change sets."""

    def __init__(self, services: Services) -> None:
        self._change_sets = services.change_sets
        self._kept = services.kept_answers

    def operations(self) -> tuple[Operation, ...]:
        """Return the noun's table."""
        rows: tuple[Row, ...] = (
            ("GET", _ALL, self.find, Listing[ChangeSetReport], 200),
            ("POST", _OF_DIFF, self.create, ChangeSetReport, 202),
            ("GET", _ONE, self.get, ChangeSetReport, 200),
            ("POST", f"{_ONE}/verify", self.verify, ChangeSetReport, 202),
        )
        archive = Operation(
            method="GET",
            path=f"{_ONE}/archive",
            endpoint=self.archive,
            answer=None,
            responses={
                200: {
                    "description": "The Ansible role, the Puppet module and REVIEW.md.",
                    "content": {_ARCHIVE: {"schema": {"type": "string", "format": "binary"}}},
                    "headers": {
                        "ETag": {
                            "description": "The file's own, no revision.",
                            "required": True,
                            "schema": {"type": "string"},
                        }
                    },
                }
            },
        )
        return (*table(rows), archive)

    async def find(self, query: Annotated[ChangeSetQuery, Query()]) -> Response:
        """List change sets, newest first; of one job its history."""
        return _CHANGE_SETS.respond(await self._change_sets.find(query.wanted(), query.options()))

    async def create(
        self, request: Request, id: DiffId, body: MakeChangeSet | None = None
    ) -> Response:
        """Have a diff made into an Ansible role and a Puppet module."""
        wanted = body or MakeChangeSet()
        return await once(
            request, self._kept, _MADE, lambda intent: self._change_sets.create(id, wanted, intent)
        )

    async def get(self, id: ChangeSetId, wait: Wait = None) -> Response:
        """Show a change set; with `wait` once it is judged and, if that was asked for, verified."""
        seconds = wait_seconds(wait)
        if seconds is None:
            return _CHANGE_SET.respond(await self._change_sets.get(id))
        return _CHANGE_SET.respond(await self._change_sets.wait(id, seconds))

    async def archive(self, id: ChangeSetId) -> Response:
        """Return a change set's files as one archive; the same bytes each time."""
        path = await self._change_sets.archive(id)
        return FileResponse(path, media_type=_ARCHIVE, filename=f"{id}.tar.gz")

    async def verify(self, request: Request, id: ChangeSetId) -> Response:
        """Have a change set tried on a fresh clone, which must become what the sandbox was."""
        return await once(
            request, self._kept, _ACCEPTED, lambda intent: self._change_sets.verify(id, intent)
        )
