"""/v1/ssh-authorities: whose signature opens guests; rotated and retired."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import Path, Request
from starlette.responses import Response

from scheduler.api.answers import Form, Listing
from scheduler.api.callers import once
from scheduler.api.queries import DryRun, Wait, wait_seconds
from scheduler.api.routing import Operation, Row, table
from scheduler.service.authorities import AuthorityReport
from scheduler.service.requests import RetireAuthority
from scheduler.service.services import Services

_AUTHORITY: Form[AuthorityReport] = Form(AuthorityReport)
_AUTHORITIES: Form[Listing[AuthorityReport]] = Form(Listing[AuthorityReport])
_ASKED: Form[AuthorityReport] = Form(
    AuthorityReport,
    HTTPStatus.ACCEPTED,
    headers={"location": "/v1/ssh-authorities/{0.id}"},
)

_ALL = "/v1/ssh-authorities"
_ONE = "/v1/ssh-authorities/{authority}"

AuthorityName = Annotated[
    str, Path(pattern=r"^[A-Za-z][A-Za-z0-9._-]{0,63}$", description="An id, or a name.")
]


class AuthorityRoutes:
    """What can be asked about the SSH authorities."""

    def __init__(self, services: Services) -> None:
        self._authorities = services.authorities
        self._kept = services.kept_answers

    def operations(self) -> tuple[Operation, ...]:
        """Return the noun's table."""
        rows: tuple[Row, ...] = (
            ("GET", _ALL, self.find, Listing[AuthorityReport], 200),
            ("POST", f"{_ALL}/rotate", self.rotate, AuthorityReport, 202),
            ("GET", _ONE, self.get, AuthorityReport, 200),
            ("POST", f"{_ONE}/retire", self.retire, AuthorityReport, 202),
        )
        return table(rows, {self.retire: AuthorityReport})

    async def find(self) -> Response:
        """List the authorities, the newest first; all of them, as there are never many."""
        return _AUTHORITIES.respond(Listing(items=await self._authorities.all()))

    async def get(self, authority: AuthorityName, wait: Wait = None) -> Response:
        """Show an authority; with `wait` once it is neither being made nor removed."""
        seconds = wait_seconds(wait)
        if seconds is None:
            return _AUTHORITY.respond(await self._authorities.get(authority))
        return _AUTHORITY.respond(await self._authorities.wait(authority, seconds))

    async def rotate(self, request: Request) -> Response:
        """Have another authority made; guests that are there go on trusting theirs."""
        return await once(request, self._kept, _ASKED, self._authorities.rotate)

    async def retire(
        self,
        request: Request,
        authority: AuthorityName,
        body: RetireAuthority,
        dry_run: DryRun = False,
    ) -> Response:
        """Have an authority's key removed; refused while guests live that trust no other."""
        if dry_run:
            return _AUTHORITY.respond(
                await self._authorities.preview_retirement(authority, force=body.force)
            )
        return await once(
            request,
            self._kept,
            _ASKED,
            lambda intent: self._authorities.retire(authority, intent, force=body.force),
        )
