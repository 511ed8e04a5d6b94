"""Sandboxes that are moved: two hosts, and all loops that take part, step by step."""

from __future__ import annotations

from scheduler.control.image_keeper import ImageKeeper, ImagePace
from scheduler.control.leftovers import key_of
from scheduler.control.replicas import ReplicaRecords
from scheduler.lifecycle.steps import ConditionKind
from scheduler.model import AllocationState, Image, Sandbox, SandboxState, VolumeRole
from scheduler.service.intents import Intent
from tests.control.imagery import Imagery, content
from tests.control.world import IMAGE, ME, World
from tests.hosts.fake import FakeDriver

OWNER: Intent[Sandbox] = Intent(actor=ME)
HOSTS = ("alpha", "beta")
CROWD = 8
"""As many CPUs as a host has."""


async def driver_on(world: World, name: str) -> FakeDriver:
    driver = world.drivers.by_host[(await world.host(name)).id]
    assert isinstance(driver, FakeDriver)
    return driver


def disk_of(sandbox: Sandbox) -> str:
    """Return the name of a sandbox's disk, the same on every host."""
    return f"{sandbox.id.lower()}.qcow2"


def failing(sandbox: Sandbox) -> list[str]:
    """Return what is told of a sandbox as failing."""
    return [c.message for c in sandbox.conditions if c.kind == ConditionKind.FAILING]


class Moving:
    """A world whose sandboxes are moved."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.imagery = Imagery(world)
        self.replicas = ReplicaRecords(world.store, world.clock)

    async def stood(
        self, state: SandboxState = SandboxState.RUNNING, *, size_mb: int = 16, **fields: object
    ) -> Sandbox:
        """Return a sandbox on alpha, whose disk holds a sound image."""
        made = await self.world.created(state, **fields)
        assert made.host_name == "alpha"
        there = await driver_on(self.world, "alpha")
        there.host.contents[disk_of(made)] = bytearray(content(size_mb))
        return made

    async def asked(self, sandbox: Sandbox, to: str | None = None) -> Sandbox:
        return await self.world.services.sandboxes.move(sandbox.id, OWNER, to, "new disks")

    async def turn(self, sandbox: Sandbox) -> None:
        """Give every loop one turn, time passing as they ask for."""
        for name in HOSTS:
            await self.world.look(name)
        pause = await self.world.converger.converge(sandbox.id)
        for image in await self.imagery.ingestor.pending():
            await self.imagery.ingestor.ingest(image)
        for replica in await self.replicas.pending():
            await self.imagery.replicator.replicate(replica)
        self.world.clock.advance(pause or 0.0)

    async def later(self, seconds: float) -> None:
        """Let time pass, and look at the hosts again."""
        self.world.clock.advance(seconds)
        for name in HOSTS:
            await self.world.look(name)

    async def go_on(self, sandbox: Sandbox, *, turns: int = 20) -> Sandbox:
        """Take turns until it rests where it is to be, or they are over."""
        for _ in range(turns):
            await self.turn(sandbox)
            found = await self.world.sandbox(sandbox.id)
            if found.move_asked_at is None and found.state.value == found.desired_state.value:
                return found
        return await self.world.sandbox(sandbox.id)

    async def moved(self, sandbox: Sandbox, to: str | None = None) -> Sandbox:
        """Have a sandbox moved, and return it once it is there."""
        await self.asked(sandbox, to)
        return await self.go_on(sandbox)

    async def clear(self, sandbox: Sandbox, name: str = "alpha") -> None:
        """Have gone what the sandbox left on a host."""
        await self.world.leftovers.remove(key_of((await self.world.host(name)).id, sandbox.id))

    async def keep(self) -> None:
        """Let go of images that nobody needs, to the end."""
        woken: list[str] = []
        pace = ImagePace()
        await ImageKeeper(self.world.store, self.world.clock, pace, wake=woken.append).keep()
        for _ in range(2):
            for key in (*await self.replicas.pending(), *await self.imagery.ingestor.pending()):
                loop = self.imagery.replicator.replicate if "/" in key else None
                await (loop or self.imagery.ingestor.ingest)(key)

    async def images(self) -> tuple[Image, ...]:
        return await self.world.store.read(lambda tx: tx.images.all())

    async def claims(self, sandbox: Sandbox) -> dict[str, AllocationState]:
        """Return the states of a sandbox's claims by the names of their hosts."""
        hosts = await self.world.store.read(lambda tx: {h.id: h.name for h in tx.hosts.all()})
        return {hosts[one.host_id]: one.state for one in await self.world.allocations(sandbox.id)}

    async def left_on(self, name: str) -> list[str]:
        """Return the volumes on a host, but for the golden image and replicas."""
        there = await driver_on(self.world, name)
        return [one for one in there.host.volumes if one != IMAGE and one[:6] != "image-"]

    async def roles(self, sandbox: Sandbox) -> set[tuple[str, VolumeRole]]:
        """Return what is listed of a sandbox, by host and role."""
        hosts = await self.world.store.read(lambda tx: {h.id: h.name for h in tx.hosts.all()})
        return {(hosts[one.host_id], one.role) for one in await self.world.volumes(sandbox.id)}
