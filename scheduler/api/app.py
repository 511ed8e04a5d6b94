"""The ASGI application: every route over the services, every error a problem document."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI

from scheduler.api import problems
from scheduler.api.routes.fleet import FleetRoutes, Missing
from scheduler.api.routes.hosts import HostRoutes
from scheduler.api.routes.placements import PlacementRoutes
from scheduler.api.routes.sandboxes import SandboxRoutes
from scheduler.api.routing import methods_at, mount
from scheduler.service.services import Services

_DESCRIPTION = (
    "Disposable virtual machines on a fleet of libvirt hosts. Every POST takes an Idempotency-Key;"
    " every refusal is a problem document (RFC 9457) with a stable `code` and a `remediation`."
)


def build_app(services: Services, *, missing: Missing = tuple) -> FastAPI:
    """Return the application over the services.

    `missing` returns what still keeps the daemon from being ready, for /readyz.
    """
    app = FastAPI(
        title="sandboxd",
        version=_version(),
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    # The busiest path first: routes are tried in order.
    mount(app, "sandboxes", SandboxRoutes(services).operations())
    mount(app, "hosts", HostRoutes(services).operations())
    mount(app, "placement", PlacementRoutes(services).operations())
    mount(app, "fleet", FleetRoutes(services, missing).operations())
    problems.install(app, methods_at(app))
    return app


def _version() -> str:
    try:
        return version("sandboxd")
    except PackageNotFoundError:
        return "0"
