"""Ready over SSH: an sshd of OpenSSH answers for the guest of a machine in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scheduler.clock import SystemClock
from scheduler.errors import HostUnreachable
from scheduler.guests.authorities import Authorities
from scheduler.guests.connections import GuestConnections
from scheduler.guests.dialling import Connection, Dialler, Login
from scheduler.guests.seed import guest_access
from scheduler.guests.streams import GuestStream
from scheduler.model import HostResources, Readiness, Sandbox, SandboxState, Transport
from tests.clocks import ManualClock
from tests.control.world import World, world
from tests.guests.loopback import directly
from tests.guests.sshd import ADDRESS, guest_sshd
from tests.waits import DEADLINE_SECONDS


async def unused(host: HostResources) -> Connection | None:
    raise HostUnreachable(f"{host.name} has no guests")


class LoopbackDialler(Dialler):
    """Leads to an sshd on this machine, whichever guest is asked for; to none before `port`.

    It waits minutes: each probe is to find what it finds however busy the machine is.
    """

    port: int | None = None

    async def dial(self, sandbox: Sandbox, host: HostResources, login: Login) -> Connection:
        if self.port is None:
            return await super().dial(sandbox, host, login)
        there, here = _on_loopback(host, sandbox)
        return await self._directly(self.port).dial(here, there, login)

    async def stream(self, sandbox: Sandbox, host: HostResources) -> GuestStream:
        there, here = _on_loopback(host, sandbox)
        assert self.port is not None
        return await self._directly(self.port).stream(here, there)

    def _directly(self, port: int) -> Dialler:
        seconds = DEADLINE_SECONDS / 2
        return Dialler(directly, port=port, connect_seconds=seconds, login_seconds=seconds)


def _on_loopback(host: HostResources, sandbox: Sandbox) -> tuple[HostResources, Sandbox]:
    return replace(host, transport=Transport.UNIX), replace(sandbox, ip_address=ADDRESS)


async def test_it_runs_when_ssh_answers_and_not_before(tmp_path: Path) -> None:
    clock, dialler = ManualClock(SystemClock().now()), LoopbackDialler(unused)
    authorities = Authorities.open(tmp_path)
    async with world(tmp_path, clock) as there:
        use(there, GuestConnections(authorities, clock, dialler=dialler))
        await there.add_seen_host()
        made = await there.create(ready="ssh")
        await there.converger.converge(made.id)
        waiting = await there.sandbox(made.id)
        assert (waiting.state, waiting.ready) == (SandboxState.STARTING, Readiness.SSH)
        assert waiting.ip_address is not None
        (told,) = waiting.conditions
        assert (told.kind, "no guest to log in to" in told.message) == ("ssh_silent", True)
        assert waiting.ssh_ca == authorities.signer.fingerprint
        with guest_sshd(tmp_path, guest_access(authorities.signer, made.id), waiting) as guest:
            dialler.port = guest.port
            assert await there.settle(made.id) is None
            up = await there.sandbox(made.id)
        there.guests.drop(made.id)
    assert (up.state, up.conditions) == (SandboxState.RUNNING, ())
    assert up.ssh_seen_at is not None


async def test_a_stranger_at_the_address_is_told_of_once(tmp_path: Path) -> None:
    clock, dialler = ManualClock(SystemClock().now()), LoopbackDialler(unused)
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    async with world(tmp_path, clock) as there:
        use(there, GuestConnections(Authorities.open(tmp_path), clock, dialler=dialler))
        await there.add_seen_host()
        made = await there.create(ready="ssh", provision_timeout_seconds=60)
        await there.converger.converge(made.id)
        access = guest_access(Authorities.open(stranger).signer, made.id)
        with guest_sshd(tmp_path, access, await there.sandbox(made.id)) as guest:
            dialler.port = guest.port
            for _ in range(3):
                await there.converger.converge(made.id)
                clock.advance(1)
            (told,) = (await there.sandbox(made.id)).conditions
            assert "did not prove to be" in told.message
            assert len(await there.events(kind="sandbox.condition", sandbox_id=made.id)) == 2
        clock.advance(60)
        await there.converger.converge(made.id)
        ended = await there.sandbox(made.id)
    assert (ended.state, ended.reason_code) == (SandboxState.ERROR, "provision_timeout")
    assert "did not answer over SSH (who answers" in (ended.reason_message or "")


def use(there: World, guests: GuestConnections) -> None:
    """Have the world reach its guests this way."""
    there.guests = guests
    there.__post_init__()
