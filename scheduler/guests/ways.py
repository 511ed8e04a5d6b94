"""How OpenSSH gets into a guest: a key for one purpose, its certificate, and a stream to the sshd.

The stream goes the way that all connections to guests go, through the host as jump; whoever is at
its end must prove to be the sandbox all the same.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import cast

import asyncssh

from scheduler.clock import Clock
from scheduler.errors import GuestUnreachable, NotFound, SandboxdError
from scheduler.guests.authorities import Authorities
from scheduler.guests.certificates import (
    Grant,
    known_hosts_line,
    source_addresses,
    user_certificate,
)
from scheduler.guests.dialling import CONNECT_SECONDS, GUEST_PORT, Jump
from scheduler.guests.doors import Streams
from scheduler.guests.players import Pass
from scheduler.ids import new_serial
from scheduler.model import HostResources, Sandbox

BACKDATED = timedelta(minutes=5)


class GuestWays:
    """Passes for guests and streams to them."""

    def __init__(
        self, authorities: Authorities, clock: Clock, jump: Jump, *, port: int = GUEST_PORT
    ) -> None:
        self._authorities = authorities
        self._clock = clock
        self._jump = jump
        self._port = port

    def pass_for(
        self, sandbox: Sandbox, host: HostResources, *, seconds: float, purpose: str
    ) -> Pass:
        """Return a fresh key with a certificate for this sandbox that is valid for so long.

        Raises `GuestUnreachable` when the authority that its guest trusts is not here any more.
        """
        now = self._clock.now()
        try:
            authority = self._authorities.trusted_by(sandbox.ssh_ca)
        except NotFound as error:
            raise GuestUnreachable(
                f"no pass opens the guest of {sandbox.id}: {error.message}", remedy=error.remedy
            ) from error
        key = asyncssh.generate_private_key("ssh-ed25519")
        grant = Grant(
            serial=new_serial(),
            sandbox_id=sandbox.id,
            identity=f"sandboxd {purpose} on {sandbox.id}",
            valid_after=min(sandbox.created_at, now) - BACKDATED,
            valid_before=now + timedelta(seconds=seconds),
            source_addresses=source_addresses(sandbox, host),
        )
        certificate = user_certificate(authority, key.convert_to_public(), grant)
        return Pass(
            private_key=key.export_private_key().decode("ascii"),
            certificate=certificate.export_certificate().decode("ascii"),
            known_hosts=known_hosts_line(sandbox.id, [authority]),
        )

    async def stream_to(self, sandbox: Sandbox, host: HostResources) -> Streams:
        """Open a stream to the guest's sshd; raises `GuestUnreachable`."""
        address = sandbox.ip_address
        if address is None:
            raise GuestUnreachable(f"the guest of {sandbox.id} has no known address")
        try:
            jump = await self._jump(host)
            async with asyncio.timeout(CONNECT_SECONDS):
                if jump is None:
                    return await asyncio.open_connection(address, self._port)
                return cast(Streams, await jump.open_connection(address, self._port))
        except (SandboxdError, asyncssh.Error, OSError, TimeoutError) as error:
            raise GuestUnreachable(
                f"the guest of {sandbox.id} was not reached at {address}: {error}",
                remedy="check that the guest runs its sshd",
            ) from error
