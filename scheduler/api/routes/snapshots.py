"""/v1/sandboxes/{reference}/snapshots: make, look, go back, delete."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Path, Query, Request
from starlette.responses import Response

from scheduler.api.answers import JSON, Form, Listing
from scheduler.api.callers import intent_of, once
from scheduler.api.queries import DryRun, Reference, SnapshotQuery, Wait, wait_seconds
from scheduler.api.routing import Operation, Row, table
from scheduler.model import Snapshot
from scheduler.service.requests import CreateSnapshot
from scheduler.service.services import Services
from scheduler.store import Page
from scheduler.validation.fields import OBJECT

_SNAPSHOT: Form[Snapshot] = Form(Snapshot)
_ACCEPTED: Form[Snapshot] = Form(Snapshot, HTTPStatus.ACCEPTED)
_CREATED: Form[Snapshot] = Form(
    Snapshot,
    HTTPStatus.ACCEPTED,
    headers={"location": "/v1/sandboxes/{0.sandbox_id}/snapshots/{0.name}"},
)
_SNAPSHOTS: Form[Page[Snapshot]] = Form(Page[Snapshot])

_ALL = "/v1/sandboxes/{reference}/snapshots"
_ONE = f"{_ALL}/{{name}}"

SnapshotName = Annotated[str, Path(pattern=OBJECT, description="A snapshot's name.")]


class SnapshotRoutes:
    """What can be asked about a sandbox's snapshots."""

    def __init__(self, services: Services) -> None:
        self._snapshots = services.snapshots
        self._kept = services.kept_answers

    def operations(self) -> tuple[Operation, ...]:
        """Return the noun's table."""
        rows: tuple[Row, ...] = (
            ("POST", _ALL, self.create, Snapshot, 202),
            ("GET", _ALL, self.find, Listing[Snapshot], 200),
            ("GET", _ONE, self.get, Snapshot, 200),
            ("DELETE", _ONE, self.remove, Snapshot, 202),
            ("POST", f"{_ONE}/revert", self.revert, Snapshot, 202),
        )
        otherwise: dict[Any, Any] = dict.fromkeys((self.create, self.remove, self.revert), Snapshot)
        return table(rows, otherwise)

    async def create(
        self,
        request: Request,
        reference: Reference,
        body: CreateSnapshot,
        wait: Wait = None,
        dry_run: DryRun = False,
    ) -> Response:
        """Make a snapshot; 202 with its record once its room is claimed."""
        if dry_run:
            return _SNAPSHOT.respond(await self._snapshots.preview("create", reference, body))
        response = await once(
            request,
            self._kept,
            _CREATED,
            lambda intent: self._snapshots.create(reference, body, intent),
        )
        return await self._settled(response, wait)

    async def find(
        self, reference: Reference, query: Annotated[SnapshotQuery, Query()]
    ) -> Response:
        """List a sandbox's snapshots, newest first."""
        return _SNAPSHOTS.respond(await self._snapshots.find(reference, query.options()))

    async def get(self, reference: Reference, name: SnapshotName, wait: Wait = None) -> Response:
        """Show a snapshot; with `wait` once nothing is under way for it."""
        snapshot = await self._snapshots.get(reference, name)
        seconds = wait_seconds(wait)
        if seconds is not None:
            snapshot = await self._snapshots.wait(snapshot.id, seconds) or snapshot
        return _SNAPSHOT.respond(snapshot)

    async def revert(
        self,
        request: Request,
        reference: Reference,
        name: SnapshotName,
        wait: Wait = None,
        dry_run: DryRun = False,
    ) -> Response:
        """Bring a sandbox back to a snapshot; what it wrote since then is lost."""
        if dry_run:
            return _SNAPSHOT.respond(await self._snapshots.preview("revert", reference, name))
        response = await once(
            request,
            self._kept,
            _ACCEPTED,
            lambda intent: self._snapshots.revert(reference, name, intent),
        )
        return await self._settled(response, wait)

    async def remove(
        self,
        request: Request,
        reference: Reference,
        name: SnapshotName,
        wait: Wait = None,
        dry_run: DryRun = False,
    ) -> Response:
        """Delete a snapshot; the others stay as they are. 200 once it is gone, if waited for."""
        if dry_run:
            return _SNAPSHOT.respond(await self._snapshots.preview("delete", reference, name))
        snapshot = await self._snapshots.remove(reference, name, intent_of(request))
        return await self._settled(_ACCEPTED.respond(snapshot), wait)

    async def _settled(self, response: Response, wait: str | None) -> Response:
        """Answer the snapshot as it is once settled instead, when asked to wait for that."""
        seconds = wait_seconds(wait)
        if seconds is None:
            return response
        answered = json.loads(bytes(response.body))
        snapshot = await self._snapshots.wait(answered["id"], seconds)
        if snapshot is None:
            return Response(response.body, HTTPStatus.OK, media_type=JSON)
        return (_ACCEPTED if snapshot.unfinished else _SNAPSHOT).respond(snapshot)
