"""The two ways into a source VM: the operator's, to prepare it, and the one that only looks.

The first is a key that the daemon's configuration names, and no caller: it opens machines that are
not ours. The second is a certificate for minutes, whose principal is the source's id, and which its
sshd takes for one account alone. The machine's own host key is kept from its first login on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncssh

from scheduler.clock import Clock
from scheduler.errors import GuestUnreachable, GuestUntrusted, NotFound, SandboxdError
from scheduler.guests.authorities import Authorities, Authority
from scheduler.guests.certificates import Grant, user_certificate
from scheduler.guests.dialling import CONNECT_SECONDS, GUEST_PORT, LOGIN_SECONDS, Jump
from scheduler.guests.source_scripts import ACCOUNT
from scheduler.ids import new_serial
from scheduler.model import HostResources, SourceVM

CERTIFICATE_SECONDS = 300
BACKDATED = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which machine is meant, and where it answers now."""

    source: SourceVM
    host: HostResources
    address: str
    expected_key: str | None = None
    """The fingerprint of its host key, where an operator said it."""

    @property
    def title(self) -> str:
        """Return what people call it."""
        return f"source VM {self.host.name}/{self.source.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """A connection that stands, and the key that the machine proved itself with."""

    connection: asyncssh.SSHClientConnection
    host_key: str


class SourceWays:
    """Makes connections to source VMs; keeps none."""

    def __init__(
        self,
        authorities: Authorities,
        clock: Clock,
        jump: Jump,
        *,
        key: Path | None,
        port: int = GUEST_PORT,
    ) -> None:
        self._authorities = authorities
        self._clock = clock
        self._jump = jump
        self._key = key
        self._port = port

    @property
    def authority(self) -> Authority:
        """Return the authority that a source prepared now is to trust."""
        return self._authorities.signer

    async def pause(self, seconds: float) -> None:
        """Wait for a moment before a machine is asked once more."""
        await self._clock.wait(asyncio.Event(), seconds)

    @asynccontextmanager
    async def as_operator(self, place: Place, user: str) -> AsyncIterator[Entered]:
        """Log in with the operator's key; raises `GuestUnreachable` or `GuestUntrusted`."""
        if self._key is None:
            raise GuestUnreachable(
                "this daemon has no key for source VMs",
                remedy="name one in the configuration: [sources] ssh_key = ..., and put its public "
                f"half into the authorized_keys of {user} on the machine",
            )
        keys: list[Any] = [str(self._key)]
        hint = f"put the public half of {self._key} into the authorized_keys of {user} there"
        async with self._entered(place, user, keys, hint) as entered:
            yield entered

    @asynccontextmanager
    async def as_onlooker(self, place: Place) -> AsyncIterator[Entered]:
        """Log in as the account that only looks; raises as `as_operator` does."""
        keys: list[Any] = [self._certified(place.source)]
        hint = "prepare it again: sandboxctl source prepare; look at its clock, too"
        async with self._entered(place, ACCOUNT, keys, hint) as entered:
            yield entered

    def _certified(self, source: SourceVM) -> tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]:
        key = asyncssh.generate_private_key("ssh-ed25519")
        now = self._clock.now()
        grant = Grant(
            serial=new_serial(),
            sandbox_id=source.id,
            identity=f"sandboxd daemon to {source.id}",
            valid_after=now - BACKDATED,
            valid_before=now + timedelta(seconds=CERTIFICATE_SECONDS),
            permit_pty=False,
        )
        return key, user_certificate(self._authority_of(source), key.convert_to_public(), grant)

    def _authority_of(self, source: SourceVM) -> Authority:
        """Return the authority that the source was prepared with, else the one that signs now."""
        if source.ca_fingerprint is None:
            return self._authorities.signer
        try:
            return self._authorities.by_fingerprint(source.ca_fingerprint)
        except NotFound as error:
            raise GuestUnreachable(error.message, remedy="prepare the source again") from error

    @asynccontextmanager
    async def _entered(
        self, place: Place, user: str, keys: list[Any], hint: str
    ) -> AsyncIterator[Entered]:
        client = _Pinning(place)
        connection = await self._connected(place, user, keys, hint, client)
        try:
            yield Entered(connection=connection, host_key=client.seen or "")
        finally:
            connection.abort()

    async def _connected(
        self, place: Place, user: str, keys: list[Any], hint: str, client: _Pinning
    ) -> asyncssh.SSHClientConnection:
        try:
            jump = await self._jump(place.host)
        except SandboxdError as error:
            raise GuestUnreachable(
                f"{place.title} is not reached while its host is not: {error.message}",
                remedy=error.remedy,
            ) from error
        try:
            async with asyncio.timeout(CONNECT_SECONDS + LOGIN_SECONDS):
                return await asyncssh.connect(
                    place.address,
                    self._port,
                    tunnel=jump,
                    options=_options(user, keys, client, place),
                )
        except asyncssh.HostKeyNotVerifiable as error:
            raise _untrusted(place, client) from error
        except asyncssh.PermissionDenied as error:
            raise GuestUnreachable(f"{place.title} lets {user} not in", remedy=hint) from error
        except (asyncssh.Error, OSError, TimeoutError, ValueError) as error:
            raise GuestUnreachable(
                f"{place.title} was not reached at {place.address}:"
                f" {str(error) or type(error).__name__}",
                remedy="check that it runs an sshd that takes logins from its host, and that its "
                "address is right; say it with --address otherwise",
            ) from error


class _Pinning(asyncssh.SSHClient):
    """Takes the host key that is kept or expected, or the first there is."""

    def __init__(self, place: Place) -> None:
        self._kept = place.source.host_key
        self._expected = place.expected_key
        self.seen: str | None = None
        self.fingerprint = ""

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        """Return whether the machine may prove itself with this key."""
        del host, addr, port
        self.seen = " ".join(key.export_public_key().decode("ascii").split()[:2])
        self.fingerprint = key.get_fingerprint("sha256")
        if self._expected is not None:
            return self.fingerprint == self._expected
        return self._kept in (None, self.seen)


def _options(
    user: str, keys: list[Any], client: _Pinning, place: Place
) -> asyncssh.SSHClientConnectionOptions:
    kept = place.source.host_key if place.expected_key is None else None
    algorithms = {} if kept is None else {"server_host_key_algs": _algorithms(kept)}
    return asyncssh.SSHClientConnectionOptions(
        config=None,
        client_factory=lambda: client,
        username=user,
        client_keys=keys,
        known_hosts=([], [], []),
        agent_path=None,
        agent_forwarding=False,
        preferred_auth="publickey",
        login_timeout=LOGIN_SECONDS,
        **algorithms,
    )


def _algorithms(kept: str) -> list[str]:
    """Return by which algorithms a machine proves that it has a key that was kept."""
    kind = kept.partition(" ")[0]
    return ["rsa-sha2-512", "rsa-sha2-256"] if kind == "ssh-rsa" else [kind]


def _untrusted(place: Place, client: _Pinning) -> GuestUntrusted:
    shown = client.fingerprint or "none that was asked for"
    return GuestUntrusted(
        f"who answers at {place.address} has another host key than {place.title}: {shown}",
        remedy="find out why; if its key was replaced, prepare it again and say the new one: "
        "sandboxctl source prepare --host-key SHA256:...",
    )
