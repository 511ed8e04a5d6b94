"""Guests that boot for as long as a test wants, and who listens to what they print."""

from __future__ import annotations

from scheduler.control.console_keeper import ConsoleKeeper
from scheduler.model import AddressReport, Console, IpSource, Sandbox, SandboxState
from scheduler.service.intents import Intent
from tests.control.world import ME, World
from tests.hosts.fake import FakeDomain, FakeDriver

INTENT: Intent[Sandbox] = Intent(actor=ME)
GREETING = b"Linux version 6.1\r\n"


class SlowGuest(FakeDriver):
    """A guest that has no address before it is told so: it boots for as long as a test wants."""

    is_up = False

    async def addresses(self, uuid: str, mac: str, network: str) -> AddressReport:
        report = await super().addresses(uuid, mac, network)
        return report if self.is_up else AddressReport(source=IpSource.LEASE)


def keeper_of(empty: World, most: int = 8) -> ConsoleKeeper:
    return ConsoleKeeper(empty.store, empty.clock, drivers=empty.drivers.get, most=most)


async def starting(empty: World, **fields: object) -> tuple[Sandbox, FakeDomain]:
    """Create a sandbox and bring it to where its guest boots."""
    made = await empty.create(**fields)
    return await go_on(empty, made.id)


async def go_on(empty: World, sandbox_id: str) -> tuple[Sandbox, FakeDomain]:
    await empty.converger.converge(sandbox_id)
    found = await empty.sandbox(sandbox_id)
    assert found.state is SandboxState.STARTING
    domain = empty.domain_of(found)
    assert domain.active
    return found, domain


async def kept(empty: World, sandbox: Sandbox) -> Console:
    return await empty.services.consoles.get(sandbox.id)


async def turn(empty: World, keeper: ConsoleKeeper, seconds: float = 0) -> float | None:
    empty.clock.advance(seconds)
    return await keeper.keep((await empty.host()).id)


async def ready(empty: World, slow: SlowGuest, sandbox: Sandbox) -> None:
    """Let a guest come up."""
    slow.is_up = True
    for _ in range(50):
        if await empty.converger.converge(sandbox.id) is None:
            break
        empty.clock.advance(1)
    assert (await empty.sandbox(sandbox.id)).state is SandboxState.RUNNING


async def moved(empty: World, sandbox_id: str, host_id: str) -> None:
    """Write down that a sandbox is on another host now, as a move does in steps."""
    await empty.change(sandbox_id, host_id=host_id)
