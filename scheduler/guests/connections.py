"""The connections to guests: shared while they are young, dropped when nobody uses them.

sshd bounds how many sessions one connection carries and how many logins it works on at once; both
bounds are kept here, so that nobody is refused in the middle of something. Each connection has a
certificate of its own, which is valid for minutes; for as long new users join the connection.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from weakref import WeakSet

import asyncssh

from scheduler.clock import Clock
from scheduler.errors import GuestUnreachable, NotFound
from scheduler.guests.authorities import Authorities, Authority
from scheduler.guests.certificates import (
    Grant,
    SignedLogin,
    signed_login,
    source_addresses,
    user_certificate,
)
from scheduler.guests.dialling import Dialler, Login
from scheduler.guests.seed import GuestAccess, guest_access
from scheduler.guests.streams import GuestStream
from scheduler.ids import new_serial
from scheduler.model import HostResources, Sandbox

USERS_A_CONNECTION = 8
"""sshd's MaxSessions is 10 by default: one session each, and two to spare."""
CONNECTIONS_A_GUEST = 2
DIALS_AT_ONCE = 32
"""Logins in progress, to all guests together; to one guest there is one at a time (MaxStartups)."""
CERTIFICATE_SECONDS = 300
IDLE_SECONDS = 60.0
WAIT_SECONDS = 30.0
"""How long one may wait for a place on a guest's connections."""
BACKDATED = timedelta(minutes=5)
"""How much earlier than a sandbox's creation its certificates begin: guests' clocks differ, and one
that was reverted to a snapshot is as old as that."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Line:
    """One connection; times are monotonic seconds."""

    user: str
    address: str
    connection: asyncssh.SSHClientConnection
    made_at: float
    used_at: float
    users: int = 0


@dataclass(slots=True)
class _Guest:
    """One guest's connections."""

    lines: list[_Line] = field(default_factory=list)
    dialling: asyncio.Lock = field(default_factory=asyncio.Lock)
    places: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(CONNECTIONS_A_GUEST * USERS_A_CONNECTION)
    )
    waiting: int = 0

    @property
    def idle(self) -> bool:
        return not self.lines and not self.waiting


class GuestConnections:
    """The pool; belongs to the event loop's thread."""

    def __init__(
        self,
        authorities: Authorities,
        clock: Clock,
        *,
        dialler: Dialler,
        certificate_seconds: int = CERTIFICATE_SECONDS,
    ) -> None:
        self._authorities = authorities
        self._clock = clock
        self._dialler = dialler
        self._certificate_seconds = certificate_seconds
        self._guests: defaultdict[str, _Guest] = defaultdict(_Guest)
        self._lent: dict[str, WeakSet[GuestStream]] = {}
        self._dials = asyncio.Semaphore(DIALS_AT_ONCE)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        authorities: Authorities,
        clock: Clock,
        *,
        dialler: Dialler,
        certificate_seconds: int = CERTIFICATE_SECONDS,
    ) -> AsyncIterator[GuestConnections]:
        """Yield the pool; leaving closes every connection."""
        pool = cls(authorities, clock, dialler=dialler, certificate_seconds=certificate_seconds)
        try:
            yield pool
        finally:
            for sandbox_id in tuple(pool._guests):
                pool.drop(sandbox_id)

    @asynccontextmanager
    async def connected(
        self, sandbox: Sandbox, host: HostResources, *, user: str = "root"
    ) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """Lend a connection to the sandbox's guest for one session at a time; others share it.

        Whoever loses it meanwhile sees asyncssh's own errors. Raises `GuestUnreachable`.
        """
        guest = self._guests[sandbox.id]
        with self._waiting(sandbox.id, guest):
            await self._take_place(sandbox, guest)
            try:
                line = await self._line(guest, sandbox, host, user)
                line.users += 1
                try:
                    yield line.connection
                finally:
                    line.users -= 1
                    line.used_at = self._clock.monotonic()
            finally:
                guest.places.release()

    @property
    def authority(self) -> str:
        """Return the fingerprint of the authority that new guests are to trust."""
        return self._authorities.signer.fingerprint

    def access_of(self, sandbox: Sandbox) -> GuestAccess:
        """Return what the sandbox's seed must say, so that `connected` works afterwards."""
        return guest_access(self._authority_of(sandbox), sandbox.id)

    async def stream(self, sandbox: Sandbox, host: HostResources) -> GuestStream:
        """Open a TCP connection to the guest's sshd, to be carried for somebody else."""
        async with self._dials:
            stream = await self._dialler.stream(sandbox, host)
        self._lent.setdefault(sandbox.id, WeakSet()).add(stream)
        return stream

    def signed(self, sandbox: Sandbox, public_key: str, grant: Grant) -> SignedLogin:
        """Sign a login for somebody's own key; raises `Invalid` for what is no key.

        `GuestUnreachable` when the authority that the guest trusts is not here any more.
        """
        return signed_login(self._authority_of(sandbox), public_key, grant)

    def drop(self, sandbox_id: str) -> int:
        """End every connection to a guest at once, used or not; return how many there were.

        What is carried for others ends too: a guest that is gone would never say so.
        """
        for stream in self._lent.pop(sandbox_id, ()):
            stream.close()
        guest = self._guests.get(sandbox_id)
        if guest is None:
            return 0
        lines, guest.lines = guest.lines, []
        for line in lines:
            line.connection.abort()
        if guest.idle:
            self._guests.pop(sandbox_id, None)
        return len(lines)

    async def sweep(self) -> None:
        """Close what nobody has used for a while, or may join no more."""
        self._lent = {sandbox_id: lent for sandbox_id, lent in self._lent.items() if lent}
        for sandbox_id, guest in tuple(self._guests.items()):
            for line in tuple(guest.lines):
                if not line.users and not self._worth_keeping(line):
                    guest.lines.remove(line)
                    line.connection.close()
            if guest.idle:
                self._guests.pop(sandbox_id, None)

    @property
    def open_connections(self) -> int:
        """Return how many connections there are now."""
        return sum(len(guest.lines) for guest in self._guests.values())

    @contextmanager
    def _waiting(self, sandbox_id: str, guest: _Guest) -> Iterator[None]:
        guest.waiting += 1
        try:
            yield
        finally:
            guest.waiting -= 1
            if guest.idle and self._guests.get(sandbox_id) is guest:
                del self._guests[sandbox_id]

    async def _take_place(self, sandbox: Sandbox, guest: _Guest) -> None:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await guest.places.acquire()
        except TimeoutError as error:
            most = CONNECTIONS_A_GUEST * USERS_A_CONNECTION
            raise GuestUnreachable(
                f"{most} sessions with the guest of {sandbox.id} are in use",
                remedy="wait until one of them has ended",
            ) from error

    async def _line(self, guest: _Guest, sandbox: Sandbox, host: HostResources, user: str) -> _Line:
        """Return a connection with room for one more user, made if there is none."""
        async with guest.dialling:
            line = self._joinable(guest, sandbox, user)
            if line is None:
                line = await self._dialled(sandbox, host, user)
                guest.lines.append(line)
            return line

    def _joinable(self, guest: _Guest, sandbox: Sandbox, user: str) -> _Line | None:
        now = self._clock.monotonic()
        guest.lines = [line for line in guest.lines if not line.connection.is_closed()]
        for line in guest.lines:
            same = (line.user, line.address) == (user, sandbox.ip_address)
            if same and line.users < USERS_A_CONNECTION and self._young(line, now):
                return line
        return None

    async def _dialled(self, sandbox: Sandbox, host: HostResources, user: str) -> _Line:
        async with self._dials:
            connection = await self._dialler.dial(sandbox, host, self._login(sandbox, host, user))
        now = self._clock.monotonic()
        return _Line(
            user=user,
            address=sandbox.ip_address or "",
            connection=connection,
            made_at=now,
            used_at=now,
        )

    def _login(self, sandbox: Sandbox, host: HostResources, user: str) -> Login:
        authority, now = self._authority_of(sandbox), self._clock.now()
        key = asyncssh.generate_private_key("ssh-ed25519")
        grant = Grant(
            serial=new_serial(),
            sandbox_id=sandbox.id,
            identity=f"sandboxd daemon to {sandbox.id}",
            valid_after=min(sandbox.created_at, now) - BACKDATED,
            valid_before=now + timedelta(seconds=self._certificate_seconds),
            source_addresses=source_addresses(sandbox, host),
        )
        certificate = user_certificate(authority, key.convert_to_public(), grant)
        return Login(user=user, key=key, certificate=certificate, authority=authority)

    def _authority_of(self, sandbox: Sandbox) -> Authority:
        """Return the authority that the sandbox's seed named; raises `GuestUnreachable`."""
        try:
            return self._authorities.trusted_by(sandbox.ssh_ca)
        except NotFound as error:
            raise GuestUnreachable(
                f"the guest of {sandbox.id} trusts an SSH authority whose key is not here: "
                f"{sandbox.ssh_ca}",
                remedy=error.remedy,
            ) from error

    def _worth_keeping(self, line: _Line) -> bool:
        now = self._clock.monotonic()
        idle = now - line.used_at >= IDLE_SECONDS
        return not idle and not line.connection.is_closed() and self._young(line, now)

    def _young(self, line: _Line, now: float) -> bool:
        return now - line.made_at < self._certificate_seconds
