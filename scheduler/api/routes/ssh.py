"""Logins to guests: certificates, the sessions held with them, and tunnels."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import Path, Query, Request
from starlette.responses import Response

from scheduler.api.answers import Form, Listing
from scheduler.api.callers import actor_of, once
from scheduler.api.queries import Reference, SshQuery
from scheduler.api.routing import Operation, Row, table
from scheduler.api.switching import Over, Upgrade
from scheduler.model import SshCertificate, SshSession
from scheduler.service.requests import SignLogin
from scheduler.service.services import Services
from scheduler.service.ssh import IssuedCertificate, RevokedLogins
from scheduler.store import Page

_ISSUED: Form[IssuedCertificate] = Form(IssuedCertificate, HTTPStatus.CREATED)
_CERTIFICATE: Form[SshCertificate] = Form(SshCertificate)
_CERTIFICATES: Form[Page[SshCertificate]] = Form(Page[SshCertificate])
_REVOKED: Form[RevokedLogins] = Form(RevokedLogins)
_SESSIONS: Form[Page[SshSession]] = Form(Page[SshSession])

_ID = r"^CRT-[0-9A-HJKMNP-TV-Z]{26}$"
CertificateId = Annotated[str, Path(pattern=_ID, description="A certificate's id.")]
WithCertificate = Annotated[
    str, Query(pattern=_ID, description="The caller's own certificate for this sandbox.")
]


class SshRoutes:
    """What can be asked about logins to guests."""

    def __init__(self, services: Services) -> None:
        self._ssh = services.ssh
        self._kept = services.kept_answers

    def operations(self) -> tuple[Operation, ...]:
        """Return the noun's table."""
        box = "/v1/sandboxes/{reference}"
        rows: tuple[Row, ...] = (
            ("POST", f"{box}/ssh-certificates", self.issue, IssuedCertificate, 201),
            ("POST", f"{box}/ssh-certificates/revoke", self.revoke_all, RevokedLogins, 200),
            ("GET", f"{box}/tunnel", self.tunnel, None, 101),
            ("GET", "/v1/ssh-certificates", self.certificates, Listing[SshCertificate], 200),
            ("POST", "/v1/ssh-certificates/{id}/revoke", self.revoke, SshCertificate, 200),
            ("GET", "/v1/ssh-sessions", self.sessions, Listing[SshSession], 200),
        )
        return table(rows)

    async def issue(self, request: Request, reference: Reference, body: SignLogin) -> Response:
        """Sign a login to a sandbox for a key of the caller's own, for a few minutes."""
        return await once(
            request,
            self._kept,
            _ISSUED,
            lambda intent: self._ssh.issue(reference, body, intent),
        )

    async def certificates(self, query: Annotated[SshQuery, Query()]) -> Response:
        """List the certificates that were issued, newest first."""
        return _CERTIFICATES.respond(await self._ssh.certificates(query.wanted(), query.options()))

    async def sessions(self, query: Annotated[SshQuery, Query()]) -> Response:
        """List the connections to guests that were carried, newest first."""
        return _SESSIONS.respond(await self._ssh.sessions(query.wanted(), query.options()))

    async def revoke(self, request: Request, id: CertificateId) -> Response:
        """Have a certificate begin no session here any more; those it began end at once."""
        return await once(
            request, self._kept, _CERTIFICATE, lambda intent: self._ssh.revoke(id, intent)
        )

    async def revoke_all(self, request: Request, reference: Reference) -> Response:
        """Have no certificate for a sandbox begin a session any more; all sessions end at once."""
        return await once(
            request, self._kept, _REVOKED, lambda intent: self._ssh.revoke_all(reference, intent)
        )

    async def tunnel(
        self, request: Request, reference: Reference, certificate: WithCertificate
    ) -> Response:
        """Carry a connection to the guest's sshd: it takes `Upgrade: sandboxd-tunnel`.

        Answers 101 once the guest listens; from then on every byte is carried as it is.
        """
        caller = Upgrade(request.scope, "a tunnel", "use sandboxctl ssh, or sandboxctl tunnel")
        await self._ssh.tunnel(reference, certificate, actor_of(request), caller)
        return Over()
