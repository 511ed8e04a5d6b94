"""/v1/source-vms: machines that are not sandboxes, prepared and looked at on request."""

from __future__ import annotations

import json
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated

from fastapi import Path, Query, Request
from starlette.responses import Response

from scheduler.api.answers import Form, Listing
from scheduler.api.callers import once
from scheduler.api.queries import (
    DryRun,
    HostName,
    InspectionQuery,
    SourceQuery,
    Wait,
    wait_seconds,
)
from scheduler.api.routing import Operation, Row, table
from scheduler.model import Inspection
from scheduler.model.commands import bytes_of
from scheduler.service.image_reports import ImageReport
from scheduler.service.intents import Answer
from scheduler.service.requests import FreezeSource, InspectSource, PrepareSource
from scheduler.service.services import Services
from scheduler.service.source_reports import PreparationPlan, SourceReport
from scheduler.store import Page
from scheduler.validation.fields import DOMAIN

_SOURCE: Form[SourceReport] = Form(SourceReport)
_SOURCES: Form[Page[SourceReport]] = Form(Page[SourceReport])
_ACCEPTED: Form[SourceReport] = Form(SourceReport, HTTPStatus.ACCEPTED)
_FROZEN: Form[ImageReport] = Form(
    ImageReport, HTTPStatus.ACCEPTED, headers={"location": "/v1/images/{0.id}"}
)
_PLAN: Form[PreparationPlan] = Form(PreparationPlan)


class _InspectionForm(Form[Inspection]):
    def answer(self, result: Inspection) -> Answer:
        return super().answer(shown(result))

    def respond(self, result: Inspection) -> Response:
        return super().respond(shown(result))


_INSPECTION = _InspectionForm(Inspection)
_ASKED = _InspectionForm(
    Inspection, HTTPStatus.ACCEPTED, headers={"location": "/v1/inspections/{0.id}"}
)
_INSPECTIONS: Form[Page[Inspection]] = Form(Page[Inspection])

_ALL = "/v1/source-vms"
_ONE = "/v1/source-vms/{name}/{domain}"

DomainName = Annotated[str, Path(pattern=DOMAIN, description="The machine's name on its host.")]
InspectionId = Annotated[
    str, Path(pattern=r"^INS-[0-9A-Z]{1,60}$", description="An inspection's id.")
]


class SourceRoutes:
    """What can be asked about machines that are not ours, and of them."""

    def __init__(self, services: Services) -> None:
        self._sources = services.source_vms
        self._kept = services.kept_answers

    def operations(self) -> tuple[Operation, ...]:
        """Return the noun's table."""
        rows: tuple[Row, ...] = (
            ("GET", _ALL, self.find, Listing[SourceReport], 200),
            ("GET", _ONE, self.get, SourceReport, 200),
            ("POST", f"{_ONE}/prepare", self.prepare, SourceReport, 202),
            ("POST", f"{_ONE}/inspections", self.inspect, Inspection, 202),
            ("POST", f"{_ONE}/freeze", self.freeze, ImageReport, 202),
            ("GET", f"{_ONE}/inspections", self.inspections, Listing[Inspection], 200),
            ("GET", "/v1/inspections/{inspection}", self.inspection, Inspection, 200),
        )
        return table(rows, {self.prepare: PreparationPlan, self.inspect: Inspection})

    async def find(self, query: Annotated[SourceQuery, Query()]) -> Response:
        """List them by host and name; a host that was not looked at lately lists none."""
        page = await self._sources.find(host=query.host, after=query.cursor, limit=query.limit)
        return _SOURCES.respond(page)

    async def get(self, name: HostName, domain: DomainName, wait: Wait = None) -> Response:
        """Show one by host and name; with `wait` once its preparation is over."""
        seconds = wait_seconds(wait)
        if seconds is None:
            return _SOURCE.respond(await self._sources.get(name, domain))
        return _SOURCE.respond(await self._sources.wait(name, domain, seconds))

    async def prepare(
        self,
        request: Request,
        name: HostName,
        domain: DomainName,
        body: PrepareSource | None = None,
        dry_run: DryRun = False,
    ) -> Response:
        """Agree that a machine is prepared over SSH; 202 once that is recorded.

        Who asks is recorded as who agreed that a machine of theirs is changed.
        """
        wanted = body or PrepareSource()
        if dry_run:
            return _PLAN.respond(await self._sources.plan(name, domain, wanted))
        return await once(
            request,
            self._kept,
            _ACCEPTED,
            lambda intent: self._sources.prepare(name, domain, wanted, intent),
        )

    async def inspect(
        self,
        request: Request,
        name: HostName,
        domain: DomainName,
        body: InspectSource,
        wait: Wait = None,
    ) -> Response:
        """Run a command that only looks on a prepared source VM; 202 once it is recorded.

        With `wait` it is answered when it has ended, or after that long.
        """
        response = await once(
            request,
            self._kept,
            _ASKED,
            lambda intent: self._sources.inspect(name, domain, body, intent),
        )
        seconds = wait_seconds(wait)
        if seconds is None:
            return response
        found = await self._sources.inspection(json.loads(bytes(response.body))["id"], seconds)
        return (_ASKED if found.waiting else _INSPECTION).respond(found)

    async def freeze(
        self,
        request: Request,
        name: HostName,
        domain: DomainName,
        body: FreezeSource | None = None,
    ) -> Response:
        """Make an image of a prepared source VM that is off, or of what a snapshot of it froze."""
        wanted = body or FreezeSource()
        return await once(
            request,
            self._kept,
            _FROZEN,
            lambda intent: self._sources.freeze(name, domain, wanted, intent),
        )

    async def inspections(
        self, name: HostName, domain: DomainName, query: Annotated[InspectionQuery, Query()]
    ) -> Response:
        """List the looks at a source VM, newest first, without their output."""
        page = await self._sources.inspections(name, domain, query.options())
        bare = tuple(replace(one, stdout="", stderr="") for one in page.items)
        return _INSPECTIONS.respond(Page(items=bare, next_cursor=page.next_cursor))

    async def inspection(self, inspection: InspectionId, wait: Wait = None) -> Response:
        """Show a look with what it found; with `wait` once it has ended."""
        seconds = wait_seconds(wait) or 0.0
        return _INSPECTION.respond(await self._sources.inspection(inspection, seconds))


def shown(inspection: Inspection) -> Inspection:
    """Return the inspection with its output as a text that JSON can hold."""
    return replace(
        inspection,
        stdout=bytes_of(inspection.stdout).decode("utf-8", "replace"),
        stderr=bytes_of(inspection.stderr).decode("utf-8", "replace"),
    )
