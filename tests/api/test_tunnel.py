"""Logins through the daemon, with OpenSSH on both ends: carried, recorded, revoked."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
import httpx2
import pytest

from scheduler.api.app import build_app
from scheduler.api.listener import Listener, serve
from scheduler.clock import SystemClock
from scheduler.control.authority_keeper import AuthorityKeeper
from scheduler.guests.authorities import Authorities
from scheduler.guests.connections import GuestConnections
from scheduler.guests.seed import guest_access
from scheduler.model import Sandbox, SshSession
from scheduler.service.intents import Intent
from scheduler.store import SshFilter
from tests.api.conftest import client
from tests.clocks import ManualClock
from tests.control.test_readiness import LoopbackDialler, unused, use
from tests.control.world import World, world
from tests.guests.sshd import GuestSshd, guest_sshd
from tests.waits import until, until_answer

pytestmark = pytest.mark.timeout(400)
INTENT: Intent[Any] = Intent(actor="uid:0")


@dataclass(kw_only=True)
class Site:
    """A served daemon with one sandbox, for whose guest an sshd answers."""

    there: World
    sandbox: Sandbox
    guest: GuestSshd
    socket: Path
    listener: Listener
    http: httpx2.AsyncClient
    keeper: AuthorityKeeper

    async def sandboxctl(self, *arguments: str, stdin: int = DEVNULL) -> Process:
        program = "from scheduler.cli.main import main; main()"
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, "--socket", str(self.socket), *arguments),
            stdin=stdin,
            stdout=PIPE,
            stderr=PIPE,
        )

    async def ran(self, *arguments: str, stdin: bytes | None = None) -> tuple[int, bytes, bytes]:
        process = await self.sandboxctl(*arguments, stdin=DEVNULL if stdin is None else PIPE)
        out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return process.returncode, out, err

    async def certificate(self) -> dict[str, Any]:
        key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
        path = f"/v1/sandboxes/{self.sandbox.id}/ssh-certificates"
        answer = await self.http.post(path, json={"public_key": key})
        assert answer.status_code == 201, answer.text
        issued: dict[str, Any] = answer.json()
        return issued

    async def sessions(self) -> tuple[SshSession, ...]:
        page = await self.there.store.read(lambda tx: tx.ssh_sessions.find(SshFilter()))
        return tuple(page.items)

    async def ended(self) -> tuple[SshSession, ...]:
        """Return the sessions once all have ended, which may be after their clients did."""
        await until(lambda: self.there.services.ssh.held == 0, what="the end of all sessions")
        return await self.sessions()

    async def opened(self, certificate: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Ask for a tunnel; return the connection with its answer read."""
        reader, writer = await asyncio.open_unix_connection(self.socket)
        path = f"/v1/sandboxes/{self.sandbox.id}/tunnel?certificate={certificate}"
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n"
        writer.write(f"{head}Upgrade: sandboxd-tunnel\r\n\r\n".encode())
        return reader, writer


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    clock, dialler = ManualClock(SystemClock().now()), LoopbackDialler(unused)
    authorities, socket = Authorities.open(tmp_path), tmp_path / "admin.sock"
    guests = GuestConnections(authorities, clock, dialler=dialler)
    async with world(tmp_path, clock, guests=guests) as there:
        use(there, guests)
        await there.add_seen_host()
        sandbox = await there.created()
        ssh = there.services.ssh
        with guest_sshd(tmp_path, guest_access(authorities.signer, sandbox.id), sandbox) as guest:
            dialler.port = guest.port
            async with (
                serve(build_app(there.services), socket, group=None, on_stop=ssh.close) as served,
                client(socket) as http,
            ):
                keeper = AuthorityKeeper(
                    there.store,
                    clock,
                    authorities,
                    told=there.journal.poke,
                    given_up=guests.drop,
                )
                yield Site(
                    keeper=keeper,
                    there=there,
                    sandbox=sandbox,
                    guest=guest,
                    socket=socket,
                    listener=served,
                    http=http,
                )


async def test_a_command_runs_with_its_input_output_and_code(site: Site) -> None:
    content = bytes(range(256)) * 8192
    code, out, err = await site.ran(
        *("ssh", site.sandbox.sandbox_name, "--", "sha256sum; cat /dev/zero | head -c 700000"),
        *("; echo oops >&2; exit 7",),
        stdin=content,
    )
    assert (code, err) == (7, b"oops\n"), err.decode()[:3000]
    assert out[:64].decode() == hashlib.sha256(content).hexdigest()
    assert out[-700_000:] == bytes(700_000)
    (session,) = await site.ended()
    assert (session.sandbox_id, session.end) == (site.sandbox.id, "closed")
    assert session.bytes_in > len(content)
    assert session.bytes_out > 700_000
    (certificate,) = (await site.http.get("/v1/ssh-certificates")).json()["items"]
    assert certificate["id"] == session.certificate_id
    assert certificate["actor"] == session.actor
    await until(lambda: f"serial {certificate['serial']}" in site.guest.log)


async def test_a_key_of_ones_own_is_signed(site: Site, tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    (tmp_path / "mine").write_bytes(key.export_private_key())
    (tmp_path / "mine").chmod(0o600)
    (tmp_path / "mine.pub").write_bytes(key.export_public_key())
    code, out, err = await site.ran("ssh", "-i", str(tmp_path / "mine"), site.sandbox.id, "id -u")
    assert (code, out, err) == (0, b"0\n", b"")


async def test_revocation_ends_the_session_and_lets_no_other_begin(site: Site) -> None:
    process = await site.sandboxctl("ssh", site.sandbox.id, "echo up; exec sleep 600")
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    (held,) = await site.sessions()
    code, out, _ = await site.ran("-o", "name", "login", "revoke", held.certificate_id)
    assert (code, out.decode().strip()) == (0, held.certificate_id)
    assert await process.wait() == 255
    (ended,) = await site.ended()
    assert ended.end == "revoked"
    reader, writer = await site.opened(held.certificate_id)
    assert (await reader.readline()).startswith(b"HTTP/1.1 409 ")
    writer.close()
    again = await site.http.post(f"/v1/ssh-certificates/{held.certificate_id}/revoke")
    assert again.json()["revoked_by"] == ended.actor
    listed = await site.ran("-o", "json", "login", "sessions", "--sandbox", site.sandbox.id)
    assert b'"revoked"' in listed[1]


async def test_a_session_ends_with_its_guest(site: Site) -> None:
    process = await site.sandboxctl("ssh", site.sandbox.id, "echo up; exec sleep 600")
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    site.there.guests.drop(site.sandbox.id)
    assert await process.wait() == 255
    (ended,) = await site.ended()
    assert ended.end == "closed"


async def test_every_login_to_a_sandbox_is_revoked_at_once(site: Site) -> None:
    other = await site.certificate()
    process = await site.sandboxctl("ssh", site.sandbox.id, "echo up; exec sleep 600")
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    code, out, err = await site.ran(
        *("-o", "json", "login", "revoke", "--sandbox", site.sandbox.sandbox_name)
    )
    assert code == 0, err
    assert json.loads(out) == {"sandbox_id": site.sandbox.id, "certificates": 2, "sessions": 1}
    assert await process.wait() == 255
    reader, writer = await site.opened(other["id"])
    assert (await reader.readline()).startswith(b"HTTP/1.1 409 ")
    writer.close()
    (event,) = await site.there.events(kind="ssh.revoked")
    assert (event.sandbox_id, event.evidence["sessions"]) == (site.sandbox.id, 1)


async def test_a_retired_authority_ends_what_it_began_and_begins_no_more(site: Site) -> None:
    service = site.there.services.authorities
    process = await site.sandboxctl("ssh", site.sandbox.id, "echo up; exec sleep 600")
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    await site.keeper.keep()
    await service.rotate(INTENT)
    await site.keeper.keep()
    old = await site.certificate()
    code, out, err = await site.ran("ssh", site.sandbox.id, "echo in the overlap")
    assert (code, out) == (0, b"in the overlap\n"), err
    assert process.returncode is None
    await service.retire("ssh-ca.1", INTENT, force=True)
    assert await process.wait() == 255
    await site.keeper.keep()
    reader, writer = await site.opened(old["id"])
    assert (await reader.readline()).startswith(b"HTTP/1.1 409 ")
    writer.close()
    public = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    path = f"/v1/sandboxes/{site.sandbox.id}/ssh-certificates"
    refused = await site.http.post(path, json={"public_key": public})
    assert refused.status_code == 503, refused.text
    assert "is not here" in refused.json()["detail"]


async def test_a_tunnel_needs_a_certificate_of_ones_own_that_counts(site: Site) -> None:
    issued = await site.certificate()
    foreign = "CRT-00000000000000000000000000"
    reader, writer = await site.opened(foreign)
    assert (await reader.readline()).startswith(b"HTTP/1.1 404 ")
    writer.close()
    plain = await site.http.get(
        f"/v1/sandboxes/{site.sandbox.id}/tunnel", params={"certificate": issued["id"]}
    )
    assert (plain.status_code, plain.json()["code"]) == (426, "upgrade_required")
    site.there.clock.set_wall(301)
    reader, writer = await site.opened(issued["id"])
    assert (await reader.readline()).startswith(b"HTTP/1.1 409 ")
    writer.close()


async def test_half_a_close_still_brings_the_answer(site: Site) -> None:
    reader, writer = await site.opened((await site.certificate())["id"])
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    writer.write(b"SSH-2.0-test\r\n")
    writer.write_eof()
    assert (await reader.read()).startswith(b"SSH-2.0-OpenSSH")
    writer.close()

    async def over() -> bool:
        return [one.end for one in await site.sessions()] == ["closed"]

    await until_answer(over)


async def test_a_client_that_vanishes_costs_nothing(site: Site) -> None:
    _, writer = await site.opened((await site.certificate())["id"])
    await until(lambda: site.there.services.ssh.held == 1)
    writer.transport.abort()
    await until(lambda: site.there.services.ssh.held == 0)
    await until(lambda: site.listener.connections <= 1)


async def test_the_end_of_the_daemon_ends_tunnels(site: Site) -> None:
    reader, writer = await site.opened((await site.certificate())["id"])
    await reader.readuntil(b"\r\n\r\n")
    site.there.services.ssh.close()
    await reader.read()
    writer.close()

    async def over() -> bool:
        return [one.end for one in await site.sessions()] == ["stopped"]

    await until_answer(over)
    reader, writer = await site.opened((await site.certificate())["id"])
    assert (await reader.readline()).startswith(b"HTTP/1.1 409 ")
    writer.close()


async def test_what_a_dead_daemon_carried_is_told_to_be_lost(site: Site) -> None:
    issued = await site.certificate()
    left = SshSession(
        id="SES-1",
        sandbox_id=site.sandbox.id,
        certificate_id=issued["id"],
        actor="uid:0",
        created_at=site.there.clock.now(),
    )
    await site.there.store.submit(lambda tx: tx.ssh_sessions.add(left))
    await site.there.services.ssh.settle()
    (ended,) = await site.sessions()
    assert (ended.id, ended.end) == ("SES-1", "lost")


async def test_no_key_no_certificate(site: Site) -> None:
    path = f"/v1/sandboxes/{site.sandbox.id}/ssh-certificates"
    for text in ("ssh-ed25519 AAAA", "command=x ssh-ed25519 AAAA", "no key"):
        refused = await site.http.post(path, json={"public_key": text})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid")
