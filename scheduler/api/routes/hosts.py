"""/v1/hosts: the fleet's machines and the drains that empty them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response

from scheduler.api import answers
from scheduler.api.answers import DrainReport, Listing
from scheduler.api.callers import actor_of, expected_revision, intent_of, once
from scheduler.api.queries import DryRun, HostName, HostQuery
from scheduler.api.routing import Operation, Row, table
from scheduler.model import HostResources
from scheduler.service.requests import AcceptIdentity, Because, DrainHost
from scheduler.service.services import Services
from scheduler.store import HostFilter
from scheduler.validation.hosts import AddHost, EditHost

_ALL = "/v1/hosts"
_ONE = "/v1/hosts/{name}"


class HostRoutes:
    """What can be asked about hosts."""

    def __init__(self, services: Services) -> None:
        self._hosts = services.hosts
        self._drains = services.drains
        self._kept = services.kept_answers

    def operations(self) -> tuple[Operation, ...]:
        """Return the noun's table."""
        rows: tuple[Row, ...] = (
            ("GET", _ALL, self.find, Listing[HostResources], 200),
            ("POST", _ALL, self.add, HostResources, 201),
            ("GET", _ONE, self.get, HostResources, 200),
            ("PATCH", _ONE, self.edit, HostResources, 200),
            ("DELETE", _ONE, self.remove, HostResources, 200),
            ("POST", f"{_ONE}/cordon", self.cordon, HostResources, 200),
            ("POST", f"{_ONE}/uncordon", self.uncordon, HostResources, 200),
            ("POST", f"{_ONE}/accept-identity", self.accept_identity, HostResources, 200),
            ("GET", f"{_ONE}/drain", self.drain_status, DrainReport, 200),
            ("POST", f"{_ONE}/drain", self.drain, DrainReport, 202),
            ("POST", f"{_ONE}/drain/abort", self.abort_drain, DrainReport, 200),
            ("POST", f"{_ONE}/drain/undo", self.undo_drain, DrainReport, 200),
        )
        otherwise = {self.add: HostResources, self.drain: DrainReport}
        return table(rows, otherwise)

    async def find(self, query: Annotated[HostQuery, Query()]) -> Response:
        """List hosts."""
        wanted = HostFilter(state=query.state, health=query.health, labels=query.labels())
        return answers.HOSTS.respond(await self._hosts.find(wanted, query.options()))

    async def add(self, request: Request, body: AddHost, dry_run: DryRun = False) -> Response:
        """Take a host into the fleet; it takes sandboxes once its health is UP."""
        if dry_run:
            return answers.HOST.respond(await self._hosts.preview(body))
        return await once(
            request,
            self._kept,
            answers.HOST_CREATED,
            lambda intent: self._hosts.add(body, intent),
        )

    async def get(self, name: HostName) -> Response:
        """Show a host."""
        return answers.HOST.respond(await self._hosts.get(name))

    async def edit(self, request: Request, name: HostName, body: EditHost) -> Response:
        """Change the fields that are given, of the revision in If-Match when there is one."""
        return answers.HOST.respond(
            await self._hosts.edit(
                name,
                body,
                intent_of(request),
                expected_revision=expected_revision(request),
            )
        )

    async def remove(self, request: Request, name: HostName, dry_run: DryRun = False) -> Response:
        """Take an empty host out of the fleet; nothing on the machine is touched."""
        revision = expected_revision(request)
        if dry_run:
            gone = await self._hosts.removable(name, expected_revision=revision)
        else:
            gone = await self._hosts.remove(name, intent_of(request), expected_revision=revision)
        return answers.HOST.respond(gone)

    async def cordon(
        self, request: Request, name: HostName, body: Because | None = None
    ) -> Response:
        """Let a host take no new sandboxes; those on it stay."""
        revision = expected_revision(request)
        return await once(
            request,
            self._kept,
            answers.HOST,
            lambda intent: self._hosts.cordon(
                name, _reason(body), intent, expected_revision=revision
            ),
        )

    async def uncordon(
        self, request: Request, name: HostName, body: Because | None = None
    ) -> Response:
        """Let a cordoned or drained host take sandboxes again."""
        revision = expected_revision(request)
        return await once(
            request,
            self._kept,
            answers.HOST,
            lambda intent: self._hosts.uncordon(
                name, _reason(body), intent, expected_revision=revision
            ),
        )

    async def accept_identity(
        self, request: Request, name: HostName, body: AcceptIdentity, dry_run: DryRun = False
    ) -> Response:
        """Take another machine for the host: the one whose UUID was refused, named by it."""
        revision = expected_revision(request)
        if dry_run:
            host = await self._hosts.acceptable(name, body.host_uuid, expected_revision=revision)
            return answers.HOST.respond(host)
        return await once(
            request,
            self._kept,
            answers.HOST,
            lambda intent: self._hosts.accept_identity(
                name, body.host_uuid, intent, expected_revision=revision
            ),
        )

    async def drain_status(self, name: HostName) -> Response:
        """Show how far a host's last drain has come."""
        return answers.DRAIN.respond(await self._drains.status(name))

    async def drain(
        self,
        request: Request,
        name: HostName,
        body: DrainHost | None = None,
        dry_run: DryRun = False,
    ) -> Response:
        """Empty a host; with `dry_run` tell what that means for each sandbox."""
        wanted = body or DrainHost()
        revision = expected_revision(request)
        if dry_run:
            planned = await self._drains.preview(
                name, wanted, actor_of(request), expected_revision=revision
            )
            return answers.DRAIN.respond(planned)
        return await once(
            request,
            self._kept,
            answers.DRAIN_ACCEPTED,
            lambda intent: self._drains.drain(name, wanted, intent, expected_revision=revision),
        )

    async def abort_drain(
        self, request: Request, name: HostName, body: Because | None = None
    ) -> Response:
        """Call a drain off; the host stays cordoned."""
        revision = expected_revision(request)
        return await once(
            request,
            self._kept,
            answers.DRAIN,
            lambda intent: self._drains.abort(
                name, _reason(body), intent, expected_revision=revision
            ),
        )

    async def undo_drain(
        self, request: Request, name: HostName, body: Because | None = None
    ) -> Response:
        """Call a drain off or take a finished one back: the host takes sandboxes again."""
        revision = expected_revision(request)
        return await once(
            request,
            self._kept,
            answers.DRAIN,
            lambda intent: self._drains.undo(
                name, _reason(body), intent, expected_revision=revision
            ),
        )


def _reason(body: Because | None) -> str:
    return body.reason if body is not None else ""
