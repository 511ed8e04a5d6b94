"""SSH certificates and sessions: written once, and ended once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, bindparam, select, update

from scheduler.model import SshCertificate, SshSession
from scheduler.store.options import ListOptions, Order, Page
from scheduler.store.repositories.repository import Repository
from scheduler.store.statements import Statement, inserted, overwritten, selected
from scheduler.store.tables import SSH_CERTIFICATES, SSH_SESSIONS
from scheduler.store.values import micros

_CERTIFICATES = SSH_CERTIFICATES.table.c
_SESSIONS = SSH_SESSIONS.table.c

_ADD_CERTIFICATE = inserted(SSH_CERTIFICATES)
_CERTIFICATE = selected(SSH_CERTIFICATES, "id")
_REPLACE_CERTIFICATE = overwritten(SSH_CERTIFICATES, "id", keep=("id", "created_at"))


def _revocation(of: Column[str]) -> Statement:
    """Return the update of whatever could still begin a session."""
    usable = (_CERTIFICATES.revoked_at.is_(None), _CERTIFICATES.valid_until > bindparam("now"))
    return Statement(
        update(SSH_CERTIFICATES.table)
        .where(of == bindparam("whose"), *usable)
        .values(revoked_at=bindparam("now"), revoked_by=bindparam("actor")),
        *("whose", "now", "actor"),
    )


_REVOKE_OF_SANDBOX = _revocation(_CERTIFICATES.sandbox_id)
_REVOKE_OF_AUTHORITY = _revocation(_CERTIFICATES.authority)
_ADD_SESSION = inserted(SSH_SESSIONS)
_REPLACE_SESSION = overwritten(SSH_SESSIONS, "id", keep=("id", "created_at"))
_OPEN_SESSIONS = Statement(
    select(SSH_SESSIONS.table)
    .where(_SESSIONS.ended_at.is_(None))
    .order_by(_SESSIONS.created_at, _SESSIONS.id)
    .limit(bindparam("most")),
    "most",
)
_CERTIFICATE_ORDER = Order(
    keys={"created_at": _CERTIFICATES.created_at}, id=_CERTIFICATES.id, default="created_at"
)
_SESSION_ORDER = Order(
    keys={"created_at": _SESSIONS.created_at}, id=_SESSIONS.id, default="created_at"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SshFilter:
    """Which certificates or sessions; everything given must hold."""

    sandbox_id: str | None = None
    actor: str | None = None


class SshCertificates(Repository):
    """The certificates' repository."""

    __slots__ = ()

    def add(self, certificate: SshCertificate) -> SshCertificate:
        """Write one that is about to be handed out."""
        self._insert(SSH_CERTIFICATES, _ADD_CERTIFICATE, certificate)
        return certificate

    def get(self, id: str) -> SshCertificate:
        """Return one; `NotFound` when there is none."""
        return self._one(SSH_CERTIFICATES, _CERTIFICATE, id)

    def find(
        self, filter: SshFilter | None = None, options: ListOptions | None = None
    ) -> Page[SshCertificate]:
        """Return a page of those that match, newest first."""
        query = self._matching(SSH_CERTIFICATES, filter or SshFilter(), "sandbox_id", "actor")
        return self._page(SSH_CERTIFICATES, query, _CERTIFICATE_ORDER, options)

    def replace(self, certificate: SshCertificate) -> SshCertificate:
        """Write one that was revoked."""
        self._cursor.change(
            _REPLACE_CERTIFICATE, [*SSH_CERTIFICATES.row(certificate), certificate.id]
        )
        return certificate

    def revoke_of_sandbox(self, sandbox_id: str, actor: str, now: datetime) -> int:
        """Revoke every certificate for a sandbox that counts; return how many."""
        return self._cursor.change(_REVOKE_OF_SANDBOX, (sandbox_id, micros(now), actor))

    def revoke_of_authority(self, fingerprint: str, actor: str, now: datetime) -> int:
        """Revoke every certificate that counts and that this key signed; return how many."""
        return self._cursor.change(_REVOKE_OF_AUTHORITY, (fingerprint, micros(now), actor))


class SshSessions(Repository):
    """The sessions' repository."""

    __slots__ = ()

    def add(self, session: SshSession) -> SshSession:
        """Write one that is about to begin."""
        self._insert(SSH_SESSIONS, _ADD_SESSION, session)
        return session

    def find(
        self, filter: SshFilter | None = None, options: ListOptions | None = None
    ) -> Page[SshSession]:
        """Return a page of those that match, newest first."""
        query = self._matching(SSH_SESSIONS, filter or SshFilter(), "sandbox_id", "actor")
        return self._page(SSH_SESSIONS, query, _SESSION_ORDER, options)

    def unended(self, most: int) -> tuple[SshSession, ...]:
        """Return those that nobody has ended yet, the oldest first."""
        return self._readable(SSH_SESSIONS, _OPEN_SESSIONS, most)

    def replace(self, session: SshSession) -> SshSession:
        """Write one that has ended."""
        self._cursor.change(_REPLACE_SESSION, [*SSH_SESSIONS.row(session), session.id])
        return session
