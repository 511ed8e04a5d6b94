"""Connections to guests, against OpenSSH's own sshd: who is let in, who is believed, who shares."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import asyncssh
import pytest

from scheduler.clock import SystemClock
from scheduler.errors import GuestUnreachable, GuestUntrusted
from scheduler.guests.authorities import Authorities
from scheduler.guests.connections import (
    CERTIFICATE_SECONDS,
    CONNECTIONS_A_GUEST,
    IDLE_SECONDS,
    USERS_A_CONNECTION,
    GuestConnections,
)
from scheduler.guests.dialling import Dialler
from scheduler.guests.seed import guest_access
from scheduler.guests.streams import Carried, GuestStream, carry
from scheduler.model import Transport
from tests.clocks import ManualClock
from tests.fleet.process import free_port
from tests.guests.loopback import directly
from tests.guests.sshd import HOST, SANDBOX, GuestSshd, guest_sshd
from tests.guests.unreached import no_guests
from tests.jumps import put_on
from tests.waits import until

OTHER = replace(SANDBOX, id="SBX-02", sandbox_name="sbx-02")
PLACES = CONNECTIONS_A_GUEST * USERS_A_CONNECTION


@pytest.fixture
def authorities(tmp_path: Path) -> Authorities:
    return Authorities.open(tmp_path)


@pytest.fixture
def guest(tmp_path: Path, authorities: Authorities) -> Iterator[GuestSshd]:
    with guest_sshd(tmp_path, guest_access(authorities.signer, SANDBOX.id)) as running:
        yield running


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(SystemClock().now())


@pytest.fixture
async def pool(
    authorities: Authorities, guest: GuestSshd, clock: ManualClock
) -> AsyncIterator[GuestConnections]:
    dialler = Dialler(directly, port=guest.port)
    async with GuestConnections.open(authorities, clock, dialler=dialler) as made:
        yield made


async def test_a_command_runs_and_the_connection_is_kept(
    pool: GuestConnections, guest: GuestSshd
) -> None:
    async with pool.connected(guest.sandbox, HOST) as connection:
        ran = await connection.run("echo $0; id -u", check=True)
    assert str(ran.stdout).splitlines()[1] == "0"
    async with pool.connected(guest.sandbox, HOST) as again:
        assert again is connection
    assert pool.open_connections == 1
    assert "SBX-01" in guest.log


@asynccontextmanager
async def slow_of_tongue(port: int, seconds: float) -> AsyncIterator[int]:
    """Yield a port that takes connections at once, and says nothing for so long once spoken to."""
    carried: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here = GuestStream(reader, writer)
        said = await here.read()
        await put_on(seconds)
        there = GuestStream(*await asyncio.open_connection("127.0.0.1", port))
        await there.write(said)
        await carry(here, there, Carried())
        there.close()
        writer.close()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carried.append(asyncio.ensure_future(serve(reader, writer)))

    async with await asyncio.start_server(begin, "127.0.0.1", 0) as server:
        yield int(server.sockets[0].getsockname()[1])
    await asyncio.gather(*carried)


async def test_a_login_may_take_longer_than_a_connection(
    authorities: Authorities, guest: GuestSshd, clock: ManualClock
) -> None:
    """Under emulation a guest's kernel answers at once, and its sshd takes seconds for the keys."""
    async with slow_of_tongue(guest.port, 300.0) as port:
        dialler = Dialler(directly, port=port, connect_seconds=120.0, login_seconds=600.0)
        async with (
            GuestConnections.open(authorities, clock, dialler=dialler) as pool,
            pool.connected(guest.sandbox, HOST) as connection,
        ):
            assert (await connection.run("true")).exit_status == 0


async def test_nothing_but_sessions_is_allowed(pool: GuestConnections, guest: GuestSshd) -> None:
    async with pool.connected(guest.sandbox, HOST) as connection:
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection("127.0.0.1", guest.port)


async def test_a_certificate_is_refused_by_another_sandbox(
    tmp_path: Path, authorities: Authorities, clock: ManualClock
) -> None:
    """The other guest trusts the same authority, and even has our host key: only its id differs."""
    mine = guest_access(authorities.signer, SANDBOX.id)
    with guest_sshd(tmp_path, mine, OTHER) as other:
        dialler = Dialler(directly, port=other.port)
        async with GuestConnections.open(authorities, clock, dialler=dialler) as pool:
            with pytest.raises(GuestUnreachable, match="refused a certificate for root"):
                async with pool.connected(replace(other.sandbox, id=SANDBOX.id), HOST):
                    pass
        await until(lambda: "does not contain an authorized principal" in other.log)


async def test_a_certificate_is_refused_after_its_end(
    pool: GuestConnections, guest: GuestSshd, clock: ManualClock
) -> None:
    clock.set_wall(-CERTIFICATE_SECONDS - 1)
    with pytest.raises(GuestUnreachable, match="refused a certificate"):
        async with pool.connected(guest.sandbox, HOST):
            pass
    await until(lambda: "expired" in guest.log)


async def test_a_certificate_counts_only_through_the_guests_host(
    pool: GuestConnections, guest: GuestSshd
) -> None:
    async with pool.connected(replace(guest.sandbox, ip_gateway="127.0.0.1"), HOST) as connection:
        assert (await connection.run("true")).exit_status == 0
    pool.drop(guest.sandbox.id)
    with pytest.raises(GuestUnreachable, match="refused a certificate"):
        async with pool.connected(replace(guest.sandbox, ip_gateway="192.0.2.1"), HOST):
            pass
    await until(lambda: "not from a permitted" in guest.log or "source-address" in guest.log)
    # Reached over TLS a host is no jump, and nobody knows where the daemon comes from.
    by_network = replace(HOST, transport=Transport.TLS)
    async with pool.connected(replace(guest.sandbox, ip_gateway="192.0.2.1"), by_network):
        pass


async def test_a_guest_whose_clock_went_back_to_its_creation_takes_new_certificates(
    pool: GuestConnections, guest: GuestSshd, clock: ManualClock
) -> None:
    clock.set_wall(7 * 86400)
    old = replace(guest.sandbox, created_at=clock.now() - timedelta(days=8))
    async with pool.connected(old, HOST) as connection:
        assert (await connection.run("true")).exit_status == 0


async def test_a_certificate_of_another_authority_is_refused(
    guest: GuestSshd, clock: ManualClock, authorities: Authorities, tmp_path: Path
) -> None:
    """Who stole the address but has no host key of ours learns nothing; nor does who has one."""
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    dialler = Dialler(directly, port=guest.port)
    async with GuestConnections.open(Authorities.open(stranger), clock, dialler=dialler) as pool:
        with pytest.raises(GuestUntrusted, match="did not prove to be SBX-01") as refused:
            async with pool.connected(guest.sandbox, HOST):
                pass
    assert "nothing was sent" in (refused.value.remedy or "")
    assert "Accepted" not in guest.log


async def test_the_guest_of_another_sandbox_at_the_address_is_not_believed(
    pool: GuestConnections, guest: GuestSshd
) -> None:
    with pytest.raises(GuestUntrusted, match="did not prove to be SBX-02"):
        async with pool.connected(replace(OTHER, ip_address=guest.sandbox.ip_address), HOST):
            pass


async def test_a_guest_without_a_host_certificate_is_not_believed(
    tmp_path: Path, authorities: Authorities, clock: ManualClock
) -> None:
    access = guest_access(authorities.signer, OTHER.id)
    with guest_sshd(tmp_path, access, OTHER, certified=False) as other:
        dialler = Dialler(directly, port=other.port)
        async with GuestConnections.open(authorities, clock, dialler=dialler) as pool:
            with pytest.raises(GuestUntrusted, match="Host key is not trusted"):
                async with pool.connected(other.sandbox, HOST):
                    pass


async def test_many_share_few_connections_and_the_rest_wait(
    pool: GuestConnections, guest: GuestSshd
) -> None:
    async with AsyncExitStack() as stack:
        held = [
            await stack.enter_async_context(pool.connected(guest.sandbox, HOST))
            for _ in range(PLACES)
        ]
        ran = await asyncio.gather(*(connection.run("echo x") for connection in held))
        assert [str(one.stdout) for one in ran] == ["x\n"] * PLACES
        assert pool.open_connections == CONNECTIONS_A_GUEST
        late = asyncio.ensure_future(stack.enter_async_context(pool.connected(guest.sandbox, HOST)))
        await asyncio.wait({late}, timeout=0.05)
        assert not late.done()
        late.cancel()
        await asyncio.wait({late})


async def test_a_place_is_not_waited_for_for_ever(
    pool: GuestConnections, guest: GuestSshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.guests.connections.WAIT_SECONDS", 0.01)
    async with AsyncExitStack() as stack:
        for _ in range(PLACES):
            await stack.enter_async_context(pool.connected(guest.sandbox, HOST))
        with pytest.raises(GuestUnreachable, match=f"{PLACES} sessions"):
            async with pool.connected(guest.sandbox, HOST):
                pass


async def test_those_who_come_at_once_share_one_login(
    pool: GuestConnections, guest: GuestSshd
) -> None:
    async def ran() -> int | None:
        async with pool.connected(guest.sandbox, HOST) as connection:
            return (await connection.run("true")).exit_status

    assert await asyncio.gather(*(ran() for _ in range(USERS_A_CONNECTION))) == [0] * 8
    assert guest.log.count("Accepted publickey") == 1


async def test_users_have_connections_of_their_own(
    pool: GuestConnections, guest: GuestSshd
) -> None:
    async with pool.connected(guest.sandbox, HOST) as root:
        with pytest.raises(GuestUnreachable):
            async with pool.connected(guest.sandbox, HOST, user="no-such-user"):
                pass
        async with pool.connected(guest.sandbox, HOST) as again:
            assert again is root


async def test_idle_connections_are_closed_and_used_ones_are_not(
    pool: GuestConnections, guest: GuestSshd, clock: ManualClock
) -> None:
    async with pool.connected(guest.sandbox, HOST):
        clock.advance(CERTIFICATE_SECONDS)
        await pool.sweep()
        assert pool.open_connections == 1
    await pool.sweep()
    assert pool.open_connections == 0
    async with pool.connected(guest.sandbox, HOST):
        pass
    clock.advance(IDLE_SECONDS - 1)
    await pool.sweep()
    assert pool.open_connections == 1
    clock.advance(1)
    await pool.sweep()
    assert pool.open_connections == 0


async def test_nobody_joins_a_connection_older_than_its_certificate(
    pool: GuestConnections, guest: GuestSshd, clock: ManualClock
) -> None:
    async with pool.connected(guest.sandbox, HOST) as old:
        clock.advance(CERTIFICATE_SECONDS)
        async with pool.connected(guest.sandbox, HOST) as young:
            assert young is not old
            assert (await old.run("true")).exit_status == 0


async def test_a_lost_connection_is_made_anew(pool: GuestConnections, guest: GuestSshd) -> None:
    async with pool.connected(guest.sandbox, HOST) as connection:
        connection.abort()
        await connection.wait_closed()
    async with pool.connected(guest.sandbox, HOST) as another:
        assert another is not connection
        assert (await another.run("true")).exit_status == 0


async def test_dropping_ends_what_is_in_use(pool: GuestConnections, guest: GuestSshd) -> None:
    async with pool.connected(guest.sandbox, HOST) as connection:
        running = await connection.create_process("echo up; exec sleep 60")
        assert await running.stdout.readline() == "up\n"
        assert pool.drop(guest.sandbox.id) == 1
        assert (await running.wait()).exit_status is None
    assert pool.drop(guest.sandbox.id) == 0
    assert pool.drop("SBX-none") == 0


async def test_a_guest_that_does_not_listen_is_told_of(
    authorities: Authorities, clock: ManualClock
) -> None:
    dialler = Dialler(directly, port=free_port())
    async with GuestConnections.open(authorities, clock, dialler=dialler) as pool:
        with pytest.raises(GuestUnreachable, match=r"not reached at 127\.0\.0\.1"):
            async with pool.connected(SANDBOX, HOST):
                pass


async def test_a_guest_without_an_address_is_not_dialled(pool: GuestConnections) -> None:
    with pytest.raises(GuestUnreachable, match="no known address"):
        async with pool.connected(replace(SANDBOX, ip_address=None), HOST):
            pass


async def test_a_simulated_guest_is_not_dialled(pool: GuestConnections) -> None:
    with pytest.raises(GuestUnreachable, match="simulated"):
        async with pool.connected(SANDBOX, replace(HOST, transport=Transport.TEST)):
            pass


async def test_a_host_that_is_away_says_so(tmp_path: Path, clock: ManualClock) -> None:
    pool = no_guests(tmp_path, clock)
    with pytest.raises(GuestUnreachable, match="while its host is not: here is in memory"):
        async with pool.connected(SANDBOX, HOST):
            pass
