"""The ASGI application: every route over the services, every error a problem document."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI
from starlette.types import ASGIApp

from scheduler.api.problems import Problems
from scheduler.api.routes.change_sets import ChangeSetRoutes
from scheduler.api.routes.commands import CommandRoutes
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
from scheduler.api.routes.trust import TrustRoutes
from scheduler.api.routing import methods_at, mount
from scheduler.service.services import Services

_DESCRIPTION = (
    "Disposable virtual machines on a fleet of libvirt hosts. Every POST takes an Idempotency-Key;"
    " every refusal is a problem document (RFC 9457) with a stable `code` and a `remediation`."
)


class Api(FastAPI):
    """FastAPI with one layer around its routes instead of its own six.

    The others are for what we do not have: dependencies with cleanup, forms, telemetry, and two
    places that turn errors into answers.
    """

    def build_middleware_stack(self) -> ASGIApp:
        """Return what serves every request."""
        return Problems(self.router, methods_at(self))


def build_app(services: Services, *, missing: Missing = tuple) -> FastAPI:
    """Return the application over the services.

    `missing` returns what still keeps the daemon from being ready, for /readyz.
    """
    app = Api(
        title="sandboxd",
        version=_version(),
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    # The busiest path first: routes are tried in order.
    mount(app, "sandboxes", SandboxRoutes(services).operations())
    mount(app, "snapshots", SnapshotRoutes(services).operations())
    mount(app, "commands", CommandRoutes(services).operations())
    mount(app, "hosts", HostRoutes(services).operations())
    mount(app, "images", ImageRoutes(services).operations())
    mount(app, "playbooks", PlaybookRoutes(services).operations())
    mount(app, "diffs", DiffRoutes(services).operations())
    mount(app, "changes", ChangeSetRoutes(services).operations())
    mount(app, "publications", PublicationRoutes(services).operations())
    mount(app, "ssh", SshRoutes(services).operations())
    mount(app, "source VMs", SourceRoutes(services).operations())
    mount(app, "placement", PlacementRoutes(services).operations())
    mount(app, "trust", TrustRoutes(services).operations())
    mount(app, "fleet", FleetRoutes(services, missing).operations())
    return app


def _version() -> str:
    try:
        return version("sandboxd")
    except PackageNotFoundError:
        return "0"
