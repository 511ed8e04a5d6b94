"""The way to a host over ssh: its libvirt socket appears as a private one on this machine.

One asyncssh connection a host carries libvirt and is the jump to its guests. libvirt's own ssh
transport would run an external program with its own prompts, files and time limits instead. Nothing
of the user's ssh configuration is read: key, known hosts and time limits are all said here.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import socket
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import asyncssh

from scheduler.errors import HostUnreachable
from scheduler.hosts.lanes import Lane, Terms
from scheduler.hosts.threads import Threads
from scheduler.model.hosts import HostResources

REMOTE_SOCKETS = ("/run/libvirt/libvirt-sock", "/var/run/libvirt/libvirt-sock")
CONNECT_SECONDS = 5.0
LOGIN_SECONDS = 10.0
KEEPALIVE_SECONDS = 10
KEEPALIVE_COUNT = 3
SOCKET_PATH_LIMIT = 107
"""A Unix socket's path is at most 108 bytes with its final zero."""


class SshTunnel:
    """One host's ssh connection, made when needed and made anew when lost."""

    def __init__(
        self,
        host: HostResources,
        *,
        sockets: Path,
        threads: Threads,
        remote_sockets: Sequence[str] = REMOTE_SOCKETS,
        login_seconds: float = LOGIN_SECONDS,
    ) -> None:
        self._host = host
        self._remote_sockets = remote_sockets
        self._login_seconds = login_seconds
        self._lane = Lane(host.name, threads)
        self._directory = _directory(sockets, host.id)
        self._path = self._directory / f"{_short(host.id)}.sock"
        self._made_directory = self._directory != sockets
        self._dialling = asyncio.Lock()
        self._connection: asyncssh.SSHClientConnection | None = None
        self._listener: asyncssh.SSHListener | None = None

    async def uri(self) -> str:
        """Return the URI of the forwarded socket, logging in when there is no connection."""
        await self._connected()
        return f"qemu+unix:///system?socket={self._path}"

    async def jump(self) -> asyncssh.SSHClientConnection:
        """Return the connection itself, as a way on to the host's guests."""
        return await self._connected()

    async def open_connection(
        self, address: str, port: int
    ) -> tuple[asyncssh.SSHReader[bytes], asyncssh.SSHWriter[bytes]]:
        """Open a TCP connection from the host, as to a guest on its NAT network."""
        connection = await self._connected()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await connection.open_connection(address, port)
        except (asyncssh.Error, OSError, TimeoutError) as error:
            raise HostUnreachable(
                f"host {self._host.name} could not connect to {address}:{port}: {_why(error)}",
                remedy="check that the guest runs and that the host's sshd forwards TCP",
            ) from error

    async def aclose(self) -> None:
        """Close the connection and remove the socket."""
        async with self._dialling:
            await self._drop()
        if self._made_directory:
            shutil.rmtree(self._directory, ignore_errors=True)

    async def _connected(self) -> asyncssh.SSHClientConnection:
        async with self._dialling:
            if self._connection is not None and not self._connection.is_closed():
                return self._connection
            await self._drop()
            self._connection = await self._log_in()
            try:
                await self._forward(self._connection)
            except (asyncssh.Error, OSError) as error:
                await self._drop()
                raise HostUnreachable(
                    f"no way could be laid to the libvirt of host {self._host.name}: {_why(error)}",
                    remedy=f"this machine refused it: look at {self._directory} and at how many"
                    " files the daemon may open",
                ) from error
            except BaseException:
                await self._drop()
                raise
            return self._connection

    async def _log_in(self) -> asyncssh.SSHClientConnection:
        link = await self._link()
        try:
            async with asyncio.timeout(self._login_seconds):
                return await asyncssh.connect(
                    self._host.address, sock=link, options=self._options()
                )
        except (asyncssh.Error, OSError, TimeoutError, ValueError) as error:
            raise HostUnreachable(
                f"host {self._host.name} was not logged in to: {_why(error)}",
                remedy="check ssh_user, ssh_key and ssh_known_hosts of this host",
            ) from error
        except BaseException:
            link.close()
            raise

    def _options(self) -> asyncssh.SSHClientConnectionOptions:
        user = {"username": self._host.ssh_user} if self._host.ssh_user else {}
        return asyncssh.SSHClientConnectionOptions(
            config=None,
            host=self._host.address,
            port=self._host.ssh_port,
            known_hosts=str(self._host.ssh_known_hosts),
            client_keys=[str(self._host.ssh_key)],
            agent_path=None,
            agent_forwarding=False,
            preferred_auth="publickey",
            login_timeout=self._login_seconds,
            keepalive_interval=KEEPALIVE_SECONDS,
            keepalive_count_max=KEEPALIVE_COUNT,
            **user,
        )

    async def _link(self) -> socket.socket:
        """Return a connected socket; in a thread, since looking a name up may block."""
        address = (self._host.address, self._host.ssh_port)
        terms = Terms(doing="accept an ssh connection", deadline_seconds=2 * CONNECT_SECONDS)
        try:
            link = await self._lane.call(
                partial(socket.create_connection, address, CONNECT_SECONDS),
                terms,
                late=socket.socket.close,
            )
        except OSError as error:
            raise HostUnreachable(
                f"host {self._host.name} does not answer at {address[0]}:{address[1]}:"
                f" {_why(error)}",
                remedy="check the address, the network and that sshd runs there",
            ) from error
        link.setblocking(False)
        return link

    async def _forward(self, connection: asyncssh.SSHClientConnection) -> None:
        remote = await self._remote_socket(connection)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.parent.chmod(0o700)
        self._path.unlink(missing_ok=True)  # what a killed daemon left
        self._listener = await connection.forward_local_path(str(self._path), remote)

    async def _remote_socket(self, connection: asyncssh.SSHClientConnection) -> str:
        """Return the first of libvirt's sockets that answers on the host."""
        failures = []
        for path in self._remote_sockets:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    _, writer = await connection.open_unix_connection(path)
                writer.close()
            except (asyncssh.Error, OSError, TimeoutError) as error:
                failures.append(f"{path}: {_why(error)}")
            else:
                return path
        raise HostUnreachable(
            f"host {self._host.name} gives no way to its libvirt: {'; '.join(failures)}",
            remedy="check that libvirtd runs there, that the ssh user may use its socket and"
            " that sshd allows stream forwarding",
        )

    async def _drop(self) -> None:
        listener, self._listener = self._listener, None
        connection, self._connection = self._connection, None
        if listener is not None:
            listener.close()
        if connection is not None:
            connection.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(CONNECT_SECONDS):
                    await connection.wait_closed()
        with suppress(OSError):  # what is left there is in the way of the next one, which tells
            self._path.unlink()


def _short(host_id: str) -> str:
    return hashlib.sha256(host_id.encode()).hexdigest()[:12]


def _directory(sockets: Path, host_id: str) -> Path:
    """Return where the host's socket goes: elsewhere only when the path would be too long."""
    if len(str(sockets / f"{_short(host_id)}.sock").encode()) <= SOCKET_PATH_LIMIT:
        return sockets
    return Path(tempfile.mkdtemp(prefix="sandboxd-"))


def _why(error: BaseException) -> str:
    return str(error) or type(error).__name__
