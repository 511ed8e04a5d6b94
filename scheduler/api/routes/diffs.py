"""Diffs: what became different in a sandbox between two of its snapshots."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import Path, Query, Request
from starlette.responses import Response

from scheduler.api.answers import Form, Listing
from scheduler.api.callers import once
from scheduler.api.queries import REFERENCE, DiffQuery, Reference
from scheduler.api.routing import Operation, Row, table
from scheduler.changes.unified import FileText
from scheduler.model import Diff
from scheduler.service.requests import CreateDiff
from scheduler.service.services import Services
from scheduler.store import Page

_DIFF: Form[Diff] = Form(Diff)
_COMPUTED: Form[Diff] = Form(Diff, HTTPStatus.CREATED, headers={"location": "/v1/diffs/{0.id}"})
_DIFFS: Form[Page[Diff]] = Form(Page[Diff])
_TEXTS: Form[Listing[FileText]] = Form(Listing[FileText])

_OF_SANDBOX = "/v1/sandboxes/{reference}/diffs"
_ONE = "/v1/diffs/{diff_id}"

DiffId = Annotated[str, Path(pattern=REFERENCE, description="A diff's id.")]


class DiffRoutes:
    """What can be asked about changes."""

    def __init__(self, services: Services) -> None:
        self._diffs = services.diffs
        self._kept = services.kept_answers

    def operations(self) -> tuple[Operation, ...]:
        """Return the noun's table."""
        rows: tuple[Row, ...] = (
            ("POST", _OF_SANDBOX, self.create, Diff, 201),
            ("GET", _OF_SANDBOX, self.find, Listing[Diff], 200),
            ("GET", _ONE, self.get, Diff, 200),
            ("GET", f"{_ONE}/texts", self.texts, Listing[FileText], 200),
        )
        return table(rows, {})

    async def create(self, request: Request, reference: Reference, body: CreateDiff) -> Response:
        """Compare two snapshots; the same question again has the same answer."""
        return await once(
            request,
            self._kept,
            _COMPUTED,
            lambda intent: self._diffs.create(reference, body, intent),
        )

    async def find(self, reference: Reference, query: Annotated[DiffQuery, Query()]) -> Response:
        """List a sandbox's diffs, newest first, each without its `delta`."""
        return _DIFFS.respond(await self._diffs.find(reference, query.options()))

    async def get(self, diff_id: DiffId) -> Response:
        """Show a diff."""
        return _DIFF.respond(await self._diffs.get(diff_id))

    async def texts(self, diff_id: DiffId) -> Response:
        """Show the changed text files of a diff line by line, or why one cannot be shown."""
        return _TEXTS.respond(Listing(items=await self._diffs.texts(diff_id)))
