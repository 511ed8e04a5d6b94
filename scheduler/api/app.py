"""The ASGI application: every route over the services, every error a problem document."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from scheduler.api.problems import Problems
from scheduler.api.routes.authorities import AuthorityRoutes
from scheduler.api.routes.change_sets import ChangeSetRoutes
from scheduler.api.routes.commands import CommandRoutes
from scheduler.api.routes.consoles import ConsoleRoutes
from scheduler.api.routes.diffs import DiffRoutes
from scheduler.api.routes.fleet import FleetRoutes, Missing
from scheduler.api.routes.hosts import HostRoutes
from scheduler.api.routes.images import ImageRoutes
from scheduler.api.routes.placements import PlacementRoutes
from scheduler.api.routes.playbooks import PlaybookRoutes
from scheduler.api.routes.publications import PublicationRoutes
from scheduler.api.routes.sandboxes import SandboxRoutes
from scheduler.api.routes.snapshots import SnapshotRoutes
from scheduler.api.routes.source_vms import SourceRoutes
from scheduler.api.routes.ssh import SshRoutes
from scheduler.api.routes.terminals import TerminalRoutes
from scheduler.api.routes.trust import TrustRoutes
from scheduler.api.routes.versions import VersionRoutes
from scheduler.api.routing import Operation, describe, methods_at, mount
from scheduler.api.traces import Answered, Traced, unheard
from scheduler.release import installed
from scheduler.service.services import Services

Table = tuple[str, tuple[Operation, ...]]
"""A noun and what can be done with it."""


class Api(FastAPI):
    """FastAPI with two thin layers around its routes instead of its own six.

    The others are for what we do not have: dependencies with cleanup, forms, telemetry, and two
    places that turn errors into answers. What the operations answer is described when somebody asks
    for the document: describing costs five times what serving needs, at every start.
    """

    def __init__(self, tables: Iterable[Table], answered: Answered = unheard) -> None:
        super().__init__(**_ABOUT, openapi_url=None, redirect_slashes=False)
        self._answered = answered
        self._tables = tuple(tables)
        for _, operations in self._tables:
            mount(self, operations)
        self.add_route("/openapi.json", self._document, include_in_schema=False)

    def build_middleware_stack(self) -> ASGIApp:
        """Return what serves every request."""
        return Traced(Problems(self.router, methods_at(self)), self._answered)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document; half a second of work when it is first asked for."""
        if self.openapi_schema is None:
            described = FastAPI(**_ABOUT)
            for tag, operations in self._tables:
                describe(described, tag, operations)
            self.openapi_schema = described.openapi()
        return self.openapi_schema

    def _document(self, _request: Request) -> JSONResponse:
        """Answer in a thread, as this is no coroutine: nobody else waits for the document."""
        return JSONResponse(self.openapi())


def build_app(services: Services, *, missing: Missing = tuple, answered: Answered = unheard) -> Api:
    """Return the application over the services.

    `missing` returns what still keeps the daemon from being ready, for /readyz; `answered` is told
    of every answer.
    """
    # The busiest path first: routes are tried in order.
    return Api(
        (
            ("sandboxes", SandboxRoutes(services).operations()),
            ("snapshots", SnapshotRoutes(services).operations()),
            ("sandboxes", ConsoleRoutes(services).operations()),
            ("commands", CommandRoutes(services).operations()),
            ("commands", TerminalRoutes(services).operations()),
            ("hosts", HostRoutes(services).operations()),
            ("images", ImageRoutes(services).operations()),
            ("playbooks", PlaybookRoutes(services).operations()),
            ("diffs", DiffRoutes(services).operations()),
            ("changes", ChangeSetRoutes(services).operations()),
            ("publications", PublicationRoutes(services).operations()),
            ("ssh", SshRoutes(services).operations()),
            ("ssh", AuthorityRoutes(services).operations()),
            ("source VMs", SourceRoutes(services).operations()),
            ("placement", PlacementRoutes(services).operations()),
            ("trust", TrustRoutes(services).operations()),
            ("fleet", FleetRoutes(services, missing).operations()),
            ("fleet", VersionRoutes().operations()),
        ),
        answered,
    )


_ABOUT: dict[str, Any] = {
    "title": "sandboxd",
    "version": installed().version,
    "description": (
        "Disposable virtual machines on a fleet of libvirt hosts. Every POST takes an"
        " Idempotency-Key; every refusal is a problem document (RFC 9457) with a stable `code`"
        " and a `remediation`."
    ),
    "docs_url": None,
    "redoc_url": None,
}
