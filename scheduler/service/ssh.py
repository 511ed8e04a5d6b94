"""Logins to guests: certificates for callers' own keys, and the connections carried for them.

A connection is carried only for a certificate of the same caller that still counts, and ends at
once when that is revoked. The daemon reads nothing of it; who logs in is the guest's to decide, by
the same certificate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from scheduler.clock import Clock
from scheduler.errors import Conflict, NotFound, Unavailable
from scheduler.guests.certificates import Grant, SignedLogin, source_addresses
from scheduler.guests.streams import Carried, Pipe, carry
from scheduler.ids import Prefix, new_id, new_serial
from scheduler.model import (
    Event,
    HostResources,
    Sandbox,
    SshAuthority,
    SshCertificate,
    SshSession,
)
from scheduler.service.intents import Intent
from scheduler.service.requests import SignLogin
from scheduler.service.sandboxes import by_reference
from scheduler.store import ListOptions, Page, SshFilter, Store, Transaction

UNENDED_AT_ONCE = 500
BACKDATED = timedelta(minutes=5)
"""Guests' clocks differ from ours."""


class Guests(Protocol):
    """The ways to guests; see `guests.connections`."""

    def signed(self, sandbox: Sandbox, public_key: str, grant: Grant) -> SignedLogin:
        """Sign a login by the authority that the sandbox's guest trusts."""
        ...

    async def stream(self, sandbox: Sandbox, host: HostResources) -> Pipe:
        """Open a TCP connection to the guest's sshd."""
        ...


class Caller(Pipe, Protocol):
    """Who wants to speak with a guest."""

    def accept(self) -> None:
        """Say that the guest listens; from then on every byte is for it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCertificate:
    """A certificate as its caller gets it, once."""

    id: str
    serial: int
    sandbox_id: str
    actor: str
    key_fingerprint: str
    authority: str
    created_at: datetime
    valid_until: datetime
    certificate: str
    """The certificate, as a file of OpenSSH's."""
    known_hosts: str
    """What OpenSSH must trust to know the guest, under the sandbox's id as its alias."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedLogins:
    """What a revocation of all logins to a sandbox ended."""

    sandbox_id: str
    certificates: int
    """Certificates with which a session could have begun."""
    sessions: int
    """Connections that were carried."""


class LoginTally(Protocol):
    """Who counts logins; see `metrics`."""

    def certified(self) -> None:
        """Count a certificate that was issued."""
        ...

    def logged_in(self) -> None:
        """Count a session that began."""
        ...

    def logged_out(self) -> None:
        """Count a session's end."""
        ...


class Uncounted:
    """Counts nothing."""

    def certified(self) -> None:
        """Count nothing."""

    def logged_in(self) -> None:
        """Count nothing."""

    def logged_out(self) -> None:
        """Count nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """A connection that is carried, and what ends it."""

    certificate: SshCertificate
    ended: asyncio.Event


class SshService:
    """Issues, revokes, carries and remembers."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        guests: Guests | None,
        certificate_seconds: int,
        tally: LoginTally | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._guests = guests
        self._certificate_seconds = certificate_seconds
        self._tally = tally or Uncounted()
        self._held: set[_Held] = set()
        self._closed = False

    async def issue(
        self, reference: str, body: SignLogin, intent: Intent[IssuedCertificate]
    ) -> IssuedCertificate:
        """Sign a login to a sandbox for the caller's key; recorded before it is handed out."""
        guests = self._reachable()
        sandbox = await self._sandbox(reference)
        if sandbox.ssh_ca is None:
            raise Conflict(
                f"the guest of {sandbox.id} trusts no SSH authority",
                remedy="it was not built yet, or by a daemon that had none: wait for it, or make "
                "a new sandbox",
            )
        host = await self._store.read(lambda tx: tx.hosts.get(sandbox.host_id or ""))
        now, certificate_id = self._clock.now(), new_id(Prefix.CERTIFICATE)
        grant = Grant(
            serial=new_serial(),
            sandbox_id=sandbox.id,
            identity=f"{certificate_id} of {intent.actor} to {sandbox.id}",
            valid_after=min(sandbox.created_at, now) - BACKDATED,
            valid_before=now + timedelta(seconds=self._certificate_seconds),
            source_addresses=source_addresses(sandbox, host),
        )
        signed = guests.signed(sandbox, body.public_key, grant)
        certificate = SshCertificate(
            id=certificate_id,
            serial=grant.serial,
            sandbox_id=sandbox.id,
            actor=intent.actor,
            key_fingerprint=signed.key_fingerprint,
            authority=signed.authority,
            created_at=now,
            valid_until=grant.valid_before,
        )

        def record(tx: Transaction) -> IssuedCertificate:
            if any(one.over and one.fingerprint == signed.authority for one in _known(tx)):
                raise Conflict(
                    f"the SSH authority that the guest of {sandbox.id} trusts was retired",
                    remedy="make the sandbox anew",
                )
            tx.ssh_certificates.add(certificate)
            return _issued(certificate, signed)

        issued = await self._store.submit(intent.once(record))
        self._tally.certified()
        return issued

    async def certificates(self, filter: SshFilter, options: ListOptions) -> Page[SshCertificate]:
        """Return a page of the certificates that were issued, newest first."""
        return await self._store.read(lambda tx: tx.ssh_certificates.find(filter, options))

    async def sessions(self, filter: SshFilter, options: ListOptions) -> Page[SshSession]:
        """Return a page of the sessions that were carried, newest first."""
        return await self._store.read(lambda tx: tx.ssh_sessions.find(filter, options))

    async def revoke(self, certificate_id: str, intent: Intent[SshCertificate]) -> SshCertificate:
        """Have a certificate begin no session any more, and end those that it began."""

        def revoke(tx: Transaction) -> SshCertificate:
            certificate = tx.ssh_certificates.get(certificate_id)
            if certificate.revoked_at is not None:
                return certificate
            now = self._clock.now()
            return tx.ssh_certificates.replace(
                replace(certificate, revoked_at=now, revoked_by=intent.actor)
            )

        revoked = await self._store.submit(intent.once(revoke))
        self._end(lambda certificate: certificate.id == certificate_id)
        return revoked

    async def revoke_all(self, reference: str, intent: Intent[RevokedLogins]) -> RevokedLogins:
        """Have no certificate for a sandbox begin a session any more, and end all there are."""
        sandbox = await self._sandbox(reference)

        def revoke_all(tx: Transaction) -> RevokedLogins:
            now = self._clock.now()
            revoked = tx.ssh_certificates.revoke_of_sandbox(sandbox.id, intent.actor, now)
            carried = sum(held.certificate.sandbox_id == sandbox.id for held in self._held)
            tx.events.add(
                Event(
                    at=now,
                    kind="ssh.revoked",
                    actor=intent.actor,
                    sandbox_id=sandbox.id,
                    reason_code="revoked",
                    message=f"every login to {sandbox.id} was revoked",
                    evidence={"certificates": revoked, "sessions": carried},
                )
            )
            return RevokedLogins(sandbox_id=sandbox.id, certificates=revoked, sessions=carried)

        revoked = await self._store.submit(intent.once(revoke_all))
        self._end(lambda certificate: certificate.sandbox_id == sandbox.id)
        return revoked

    def end_signed_by(self, authority: str) -> None:
        """End every session that certificates of an authority began, by its fingerprint."""
        self._end(lambda certificate: certificate.authority == authority)

    async def tunnel(self, reference: str, certificate_id: str, actor: str, caller: Caller) -> None:
        """Carry a connection to a sandbox's guest until either side, or a revocation, ends it."""
        guests = self._reachable()
        sandbox = await self._sandbox(reference)
        host = await self._store.read(lambda tx: tx.hosts.get(sandbox.host_id or ""))
        session = SshSession(
            id=new_id(Prefix.SESSION),
            sandbox_id=sandbox.id,
            certificate_id=certificate_id,
            actor=actor,
            created_at=self._clock.now(),
        )
        certificate = await self._store.read(lambda tx: self._allowed(tx, session))
        guest = await guests.stream(sandbox, host)
        held = _Held(certificate, asyncio.Event())
        self._held.add(held)
        try:
            await self._hold(session, caller, guest, held.ended)
        finally:
            guest.close()
            self._held.discard(held)

    async def settle(self) -> None:
        """End the records of sessions that a former daemon carried when it died."""

        def settle(tx: Transaction) -> int:
            left = tx.ssh_sessions.unended(UNENDED_AT_ONCE)
            for session in left:
                lost = replace(session, ended_at=self._clock.now(), end="lost")
                tx.ssh_sessions.replace(lost)
            return len(left)

        while await self._store.read(lambda tx: tx.ssh_sessions.unended(1)):
            await self._store.submit(settle)

    def close(self) -> None:
        """End every connection that is carried; no other begins."""
        self._closed = True
        self._end(lambda _: True)

    @property
    def held(self) -> int:
        """Return how many connections are carried now."""
        return len(self._held)

    def _end(self, whose: Callable[[SshCertificate], bool]) -> None:
        for held in tuple(self._held):
            if whose(held.certificate):
                held.ended.set()

    async def _hold(
        self, session: SshSession, caller: Caller, guest: Pipe, ended: asyncio.Event
    ) -> None:
        def begin(tx: Transaction) -> SshSession:
            self._allowed(tx, session)
            return tx.ssh_sessions.add(session)

        await self._store.submit(begin)
        self._tally.logged_in()
        carried = Carried()
        caller.accept()
        carrying = asyncio.create_task(carry(caller, guest, carried))
        ending = asyncio.create_task(ended.wait())
        try:
            await asyncio.wait({carrying, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            caller.close()
            why = "closed" if not ended.is_set() else "stopped" if self._closed else "revoked"
            for task in (carrying, ending):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await self._finish(session, carried, why)
            self._tally.logged_out()

    async def _finish(self, session: SshSession, carried: Carried, why: str) -> None:
        def end(tx: Transaction) -> SshSession:
            return tx.ssh_sessions.replace(
                replace(
                    session,
                    ended_at=self._clock.now(),
                    bytes_in=carried.to_guest,
                    bytes_out=carried.from_guest,
                    end=why,
                )
            )

        await self._store.submit(end)

    def _allowed(self, tx: Transaction, session: SshSession) -> SshCertificate:
        """Return the session's certificate; raises `NotFound` or `Conflict`."""
        certificate = tx.ssh_certificates.get(session.certificate_id)
        mine = (certificate.sandbox_id, certificate.actor) == (session.sandbox_id, session.actor)
        if not mine:
            raise NotFound(
                f"{session.actor} has no certificate {session.certificate_id} for "
                f"{session.sandbox_id}",
                remedy="get one of your own: sandboxctl ssh does",
            )
        if self._closed or not certificate.usable(self._clock.now()):
            raise Conflict(
                f"certificate {certificate.id} "
                + ("was revoked" if certificate.revoked_at else "has run out"),
                remedy="get another one: sandboxctl ssh does",
            )
        return certificate

    async def _sandbox(self, reference: str) -> Sandbox:
        sandbox = await self._store.read(lambda tx: by_reference(reference, tx))
        if not sandbox.live:
            raise Conflict(
                f"sandbox {sandbox.id} was destroyed", remedy="see what there is: sandboxctl list"
            )
        return sandbox

    def _reachable(self) -> Guests:
        if self._guests is None:
            raise Unavailable("this daemon has no way to guests")
        return self._guests


def _known(tx: Transaction) -> tuple[SshAuthority, ...]:
    return tx.ssh_authorities.all()


def _issued(certificate: SshCertificate, signed: SignedLogin) -> IssuedCertificate:
    return IssuedCertificate(
        id=certificate.id,
        serial=certificate.serial,
        sandbox_id=certificate.sandbox_id,
        actor=certificate.actor,
        key_fingerprint=certificate.key_fingerprint,
        authority=certificate.authority,
        created_at=certificate.created_at,
        valid_until=certificate.valid_until,
        certificate=signed.certificate,
        known_hosts=signed.known_hosts,
    )
