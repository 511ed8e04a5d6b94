"""One login to one guest: through its host, with a certificate of its own, guest and host verified.

Nothing of the user's ssh configuration is read. The guest must prove with a host certificate that
it is this sandbox; an address alone proves nothing, since another guest may have it by now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncssh

from scheduler.errors import GuestUnreachable, GuestUntrusted, SandboxdError
from scheduler.guests.authorities import ALGORITHM, Authority
from scheduler.guests.certificates import CERTIFICATE_ALGORITHM
from scheduler.guests.streams import GuestStream
from scheduler.model import HostResources, Sandbox, Transport

GUEST_PORT = 22
CONNECT_SECONDS = 5.0
LOGIN_SECONDS = 15.0
"""Longer than for a host: a guest without hardware virtualisation takes seconds for the keys."""
KEEPALIVE_SECONDS = 10
KEEPALIVE_COUNT = 3

Connection = asyncssh.SSHClientConnection
Jump = Callable[[HostResources], Awaitable[Connection | None]]
"""The connection to a host that its guests are reached through; None where they are reached
directly. Raises `HostError`."""

_HOST_KEYS = (CERTIFICATE_ALGORITHM, ALGORITHM)
"""A bare key is never trusted; it is asked for so that who has nothing else can be told so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """As whom, with what, and by whose signature the guest must be known."""

    user: str
    key: asyncssh.SSHKey
    certificate: asyncssh.SSHCertificate
    authority: Authority


class Dialler:
    """Makes connections to guests; keeps none."""

    def __init__(
        self,
        jump: Jump,
        *,
        port: int = GUEST_PORT,
        connect_seconds: float = CONNECT_SECONDS,
        login_seconds: float = LOGIN_SECONDS,
    ) -> None:
        self._jump = jump
        self._port = port
        self._connect_seconds = connect_seconds
        self._login_seconds = login_seconds

    async def dial(self, sandbox: Sandbox, host: HostResources, login: Login) -> Connection:
        """Log in; raises `GuestUnreachable`, or `GuestUntrusted` when somebody else answers."""
        address = _address(sandbox, host)
        jump = await self._through(sandbox, host)
        try:
            async with asyncio.timeout(self._connect_seconds + self._login_seconds):
                return await asyncssh.connect(
                    address,
                    self._port,
                    tunnel=_Way(jump, self._connect_seconds),
                    options=self._options(sandbox, login),
                )
        except asyncssh.HostKeyNotVerifiable as error:
            raise _untrusted(sandbox, address, _why(error)) from error
        except asyncssh.PermissionDenied as error:
            raise GuestUnreachable(
                f"the guest of {sandbox.id} refused a certificate for {login.user}",
                remedy="its sshd must take the authority and the principals of the seed: look for "
                "/etc/ssh/sshd_config.d/00-sandboxd.conf in the guest, and at the guest's clock",
            ) from error
        except (asyncssh.Error, OSError, TimeoutError, ValueError) as error:
            raise _unreached(sandbox, address, error) from error

    async def stream(self, sandbox: Sandbox, host: HostResources) -> GuestStream:
        """Open a TCP connection to the guest's sshd for others; raises `GuestUnreachable`."""
        address = _address(sandbox, host)
        jump = await self._through(sandbox, host)
        try:
            async with asyncio.timeout(self._connect_seconds):
                if jump is not None:
                    return GuestStream(*await jump.open_connection(address, self._port))
                return GuestStream(*await asyncio.open_connection(address, self._port))
        except (asyncssh.Error, OSError, TimeoutError) as error:
            raise _unreached(sandbox, address, error) from error

    async def _through(self, sandbox: Sandbox, host: HostResources) -> Connection | None:
        try:
            return await self._jump(host)
        except SandboxdError as error:
            raise GuestUnreachable(
                f"the guest of {sandbox.id} is not reached while its host is not: {error.message}",
                remedy=error.remedy,
            ) from error

    def _options(self, sandbox: Sandbox, login: Login) -> asyncssh.SSHClientConnectionOptions:
        return asyncssh.SSHClientConnectionOptions(
            config=None,
            username=login.user,
            client_keys=[(login.key, login.certificate)],
            known_hosts=([], [login.authority.public_key.encode("ascii")], []),
            host_key_alias=sandbox.id,
            server_host_key_algs=_HOST_KEYS,
            agent_path=None,
            agent_forwarding=False,
            preferred_auth="publickey",
            login_timeout=self._login_seconds,
            keepalive_interval=KEEPALIVE_SECONDS,
            keepalive_count_max=KEEPALIVE_COUNT,
        )


class _Way:
    """How asyncssh gets its TCP connection: through the host or directly, within a time of its own.

    asyncssh's `connect_timeout` goes on until the login is over, which takes slow guests longer.
    """

    def __init__(self, jump: Connection | None, seconds: float) -> None:
        self._jump = jump
        self._seconds = seconds

    async def create_connection(
        self, session_factory: Callable[[], Any], remote_host: str, remote_port: int
    ) -> Any:
        """Return what carries the connection, and what `session_factory` made of it."""
        async with asyncio.timeout(self._seconds):
            if self._jump is not None:
                return await self._jump.create_connection(session_factory, remote_host, remote_port)
            loop = asyncio.get_running_loop()
            return await loop.create_connection(session_factory, remote_host, remote_port)

    def close(self) -> None:
        """The jump is its owner's."""


def _address(sandbox: Sandbox, host: HostResources) -> str:
    if host.transport is Transport.TEST:
        raise GuestUnreachable(
            f"{sandbox.id} is on the simulated host {host.name}: there is no guest to log in to",
            remedy="create it on a real host",
        )
    if sandbox.ip_address is None:
        raise GuestUnreachable(
            f"the guest of {sandbox.id} has no known address ({sandbox.state})",
            remedy=f"see how it is: sandboxctl show {sandbox.id}",
        )
    return sandbox.ip_address


def _unreached(sandbox: Sandbox, address: str, error: BaseException) -> GuestUnreachable:
    return GuestUnreachable(
        f"the guest of {sandbox.id} was not reached at {address}: {_why(error)}",
        remedy="check that the guest runs its sshd; on a host over ssh, that the host's "
        "sshd forwards TCP",
    )


def _untrusted(sandbox: Sandbox, address: str, why: str) -> GuestUntrusted:
    return GuestUntrusted(
        f"who answers at {address} did not prove to be {sandbox.id}: {why}",
        remedy="another machine may have the address, or the guest's host key was replaced; "
        "nothing was sent to it. Find out which, or create the sandbox anew",
    )


def _why(error: BaseException) -> str:
    return str(error) or type(error).__name__
