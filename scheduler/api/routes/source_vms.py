"""/v1/source-vms: machines on the hosts that are not sandboxes, as they were last seen."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from starlette.responses import Response

from scheduler.api.answers import Form, Listing
from scheduler.api.queries import HostName, SourceQuery
from scheduler.api.routing import Operation, Row, table
from scheduler.service.services import Services
from scheduler.service.source_vms import SourceReport
from scheduler.store import Page
from scheduler.validation.fields import DOMAIN

_SOURCE: Form[SourceReport] = Form(SourceReport)
_SOURCES: Form[Page[SourceReport]] = Form(Page[SourceReport])

DomainName = Annotated[str, Path(pattern=DOMAIN, description="The machine's name on its host.")]


class SourceRoutes:
    """What can be asked about machines that are not ours."""

    def __init__(self, services: Services) -> None:
        self._sources = services.source_vms

    def operations(self) -> tuple[Operation, ...]:
        """Return the noun's table."""
        rows: tuple[Row, ...] = (
            ("GET", "/v1/source-vms", self.find, Listing[SourceReport], 200),
            ("GET", "/v1/source-vms/{name}/{domain}", self.get, SourceReport, 200),
        )
        return table(rows)

    async def find(self, query: Annotated[SourceQuery, Query()]) -> Response:
        """List them by host and name; a host that was not looked at lately lists none."""
        page = await self._sources.find(host=query.host, after=query.cursor, limit=query.limit)
        return _SOURCES.respond(page)

    async def get(self, name: HostName, domain: DomainName) -> Response:
        """Show one by host and name."""
        return _SOURCE.respond(await self._sources.get(name, domain))
