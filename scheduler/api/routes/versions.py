"""/v1/version: which release answers."""

from __future__ import annotations

from starlette.responses import Response

from scheduler.api.answers import Form
from scheduler.api.routing import Operation
from scheduler.release import Release, installed

_RELEASE: Form[Release] = Form(Release)


class VersionRoutes:
    """What can be asked about the daemon's program."""

    def operations(self) -> tuple[Operation, ...]:
        """Return the table."""
        return (Operation(method="GET", path="/v1/version", endpoint=self.release, answer=Release),)

    async def release(self) -> Response:
        """Say which release runs: its version, and the commit where it was installed from one."""
        return _RELEASE.respond(installed())
