"""The ssh tunnel against a server in this process: trust, time limits, loss and return."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest

from scheduler.errors import HostUnreachable
from scheduler.hosts.threads import Threads
from scheduler.hosts.tunnel import LOGIN_SECONDS, SOCKET_PATH_LIMIT, SshTunnel
from scheduler.model.hosts import HostResources, Transport
from tests.hosts.subjects import host_record
from tests.waits import until


class Gate(asyncssh.SSHServer):
    """Lets every accepted key forward to local sockets and addresses."""

    def unix_connection_requested(self, dest_path: str) -> bool:
        return Path(dest_path).exists()

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> bool:
        del dest_host, dest_port, orig_host, orig_port
        return True


@dataclass(slots=True, kw_only=True)
class Machine:
    """A machine with sshd and an echoing libvirt socket."""

    server: asyncssh.SSHAcceptor
    record: HostResources
    socket: Path

    def tunnel(
        self,
        directory: Path,
        threads: Threads,
        login_seconds: float = LOGIN_SECONDS,
        **changes: object,
    ) -> SshTunnel:
        values = {name: getattr(self.record, name) for name in self.record.__slots__}
        return SshTunnel(
            HostResources(**{**values, **changes}),
            sockets=directory / "tunnels",
            threads=threads,
            login_seconds=login_seconds,
            remote_sockets=("/nonexistent/sock", str(self.socket)),
        )


async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept, and never say anything."""
    try:
        await reader.read()
    finally:
        writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(OSError):
            while data := await reader.read(1024):
                writer.write(data)
                await writer.drain()
    finally:  # a test's end may come before the other side's
        writer.close()


@pytest.fixture
def threads() -> Threads:
    return Threads()


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    user_key = asyncssh.generate_private_key("ssh-ed25519")
    user_key.write_private_key(tmp_path / "id")
    user_key.write_public_key(tmp_path / "authorized_keys")
    sock = tmp_path / "libvirt-sock"
    async with serving(host_key, tmp_path, sock) as server:
        port = server.get_port()
        known = f"[127.0.0.1]:{port} {host_key.export_public_key().decode()}"
        (tmp_path / "known_hosts").write_text(known)
        yield Machine(
            server=server,
            socket=sock,
            record=host_record(
                "m",
                transport=Transport.SSH,
                address="127.0.0.1",
                ssh_port=port,
                ssh_user="root",
                ssh_key=str(tmp_path / "id"),
                ssh_known_hosts=str(tmp_path / "known_hosts"),
            ),
        )


@asynccontextmanager
async def serving(
    host_key: asyncssh.SSHKey, directory: Path, sock: Path
) -> AsyncIterator[asyncssh.SSHAcceptor]:
    libvirtd = await asyncio.start_unix_server(echo, sock)
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Gate,
        server_host_keys=[host_key],
        authorized_client_keys=str(directory / "authorized_keys"),
    )
    try:
        yield server
    finally:
        server.close()
        await server.wait_closed()
        libvirtd.close()
        await libvirtd.wait_closed()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def echoed(path: str) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"ping")
    answer = await reader.readexactly(4)
    writer.close()
    await writer.wait_closed()
    return answer


async def test_the_hosts_socket_appears_as_a_private_local_one(
    machine: Machine, tmp_path: Path, threads: Threads
) -> None:
    tunnel = machine.tunnel(tmp_path, threads)
    uri = await tunnel.uri()
    assert uri.startswith(f"qemu+unix:///system?socket={tmp_path}/tunnels/")
    path = Path(uri.partition("=")[2])
    assert mode(path.parent) == 0o700
    assert await echoed(str(path)) == b"ping"
    assert await tunnel.uri() == uri
    await tunnel.aclose()
    assert list((tmp_path / "tunnels").iterdir()) == []


async def test_it_is_the_jump_to_what_only_the_host_can_reach(
    machine: Machine, tmp_path: Path, threads: Threads
) -> None:
    guest = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = guest.sockets[0].getsockname()[1]
    tunnel = machine.tunnel(tmp_path, threads)
    reader, writer = await tunnel.open_connection("127.0.0.1", port)
    writer.write(b"ping")
    assert await reader.readexactly(4) == b"ping"
    writer.close()
    guest.close()
    await guest.wait_closed()
    with pytest.raises(HostUnreachable, match="could not connect") as caught:
        await tunnel.open_connection("127.0.0.1", port)
    assert caught.value.remedy
    await tunnel.aclose()


async def test_a_host_key_that_is_not_the_known_one_is_refused(
    machine: Machine, tmp_path: Path, threads: Threads
) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    (tmp_path / "wrong").write_text(f"[127.0.0.1]:{machine.record.ssh_port} {other}")
    tunnel = machine.tunnel(tmp_path, threads, ssh_known_hosts=str(tmp_path / "wrong"))
    with pytest.raises(HostUnreachable, match="not trusted"):
        await tunnel.uri()
    await tunnel.aclose()


@pytest.mark.parametrize("content", ["", None])
async def test_no_known_key_is_no_login(
    machine: Machine, tmp_path: Path, threads: Threads, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "empty").write_text(content)
    tunnel = machine.tunnel(tmp_path, threads, ssh_known_hosts=str(tmp_path / "empty"))
    with pytest.raises(HostUnreachable, match="was not logged in to"):
        await tunnel.uri()
    await tunnel.aclose()


async def test_a_key_that_the_host_does_not_know_is_told(
    machine: Machine, tmp_path: Path, threads: Threads
) -> None:
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(tmp_path / "stranger")
    tunnel = machine.tunnel(tmp_path, threads, ssh_key=str(tmp_path / "stranger"))
    with pytest.raises(HostUnreachable, match="Permission denied") as caught:
        await tunnel.uri()
    assert "ssh_key" in (caught.value.remedy or "")
    await tunnel.aclose()


async def test_a_port_where_nobody_listens_is_told(
    machine: Machine, tmp_path: Path, threads: Threads
) -> None:
    tunnel = machine.tunnel(tmp_path, threads, ssh_port=1)
    with pytest.raises(HostUnreachable, match=r"does not answer at 127\.0\.0\.1:1"):
        await tunnel.uri()
    await tunnel.aclose()


async def test_a_host_that_accepts_and_stays_silent_is_given_up_in_time(
    machine: Machine, tmp_path: Path, threads: Threads
) -> None:
    silent = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    tunnel = machine.tunnel(tmp_path, threads, login_seconds=0.2, ssh_port=port)
    with pytest.raises(HostUnreachable, match="was not logged in to"):
        await tunnel.uri()
    await tunnel.aclose()
    silent.close()
    await silent.wait_closed()


async def test_a_host_without_libvirt_is_told_with_every_socket_tried(
    machine: Machine, tmp_path: Path, threads: Threads
) -> None:
    machine.socket.unlink()
    tunnel = machine.tunnel(tmp_path, threads)
    with pytest.raises(HostUnreachable, match=r"/nonexistent/sock: .*libvirt-sock: "):
        await tunnel.uri()
    await tunnel.aclose()


async def test_a_lost_connection_is_made_anew(
    machine: Machine, tmp_path: Path, threads: Threads
) -> None:
    tunnel = machine.tunnel(tmp_path, threads)
    path = (await tunnel.uri()).partition("=")[2]
    lost = tunnel._connection
    assert lost is not None
    lost.abort()
    await until(lost.is_closed, what="the loss to be noticed")
    assert (await tunnel.uri()).partition("=")[2] == path
    assert await echoed(path) == b"ping"
    await tunnel.aclose()


async def test_a_socket_that_a_killed_daemon_left_is_replaced(
    machine: Machine, tmp_path: Path, threads: Threads
) -> None:
    tunnel = machine.tunnel(tmp_path, threads)
    tunnel._path.parent.mkdir()
    tunnel._path.touch()
    assert await echoed((await tunnel.uri()).partition("=")[2]) == b"ping"
    await tunnel.aclose()


async def test_i8_a_machine_that_gives_no_socket_is_told_as_a_host_out_of_reach(
    machine: Machine, tmp_path: Path, threads: Threads
) -> None:
    """Else it would be taken for a bug, and its host be parked for up to an hour."""
    (tmp_path / "tunnels").touch()
    tunnel = machine.tunnel(tmp_path, threads)
    with pytest.raises(HostUnreachable, match=r"no way could be laid.*File exists") as caught:
        await tunnel.uri()
    assert "how many files" in (caught.value.remedy or "")
    assert tunnel._connection is None
    (tmp_path / "tunnels").unlink()
    assert await echoed((await tunnel.uri()).partition("=")[2]) == b"ping"
    await tunnel.aclose()


async def test_a_state_directory_with_a_long_name_gets_a_short_socket(
    machine: Machine, tmp_path: Path, threads: Threads
) -> None:
    tunnel = machine.tunnel(tmp_path / ("long" * 20), threads)
    path = Path((await tunnel.uri()).partition("=")[2])
    assert len(str(path)) <= SOCKET_PATH_LIMIT
    assert mode(path.parent) == 0o700
    assert await echoed(str(path)) == b"ping"
    await tunnel.aclose()
    assert not path.parent.exists()
