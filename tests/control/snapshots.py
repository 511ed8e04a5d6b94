"""What tests of snapshots ask of a world: acts, what guests write, and what must be true after."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.lifecycle import layers
from scheduler.lifecycle.mark_documents import read_mark
from scheduler.lifecycle.snapshots import storage_due
from scheduler.model import Sandbox, Snapshot, SnapshotState
from scheduler.service.intents import Intent
from scheduler.service.requests import CreateSnapshot
from tests.control.world import IMAGE, ME, World
from tests.hosts.fake import FakeDriver
from tests.hosts.fake_snapshots import Blocks, read_disk

KINDS = ["INTERNAL", "EXTERNAL"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A sandbox of a world, and its machine."""

    world: World
    driver: FakeDriver
    sandbox_id: str

    @property
    def uuid(self) -> str:
        return next(iter(self.driver.host.domains))

    async def ask(self, name: str, kind: str = "EXTERNAL", **wanted: object) -> Snapshot:
        """Ask for a snapshot, without waiting for it."""
        request = CreateSnapshot.model_validate({"name": name, "kind": kind, **wanted})
        service = self.world.services.snapshots
        return await service.create(self.sandbox_id, request, Intent(actor=ME))

    async def make(self, name: str, kind: str = "EXTERNAL", **wanted: object) -> Snapshot:
        """Make a snapshot and return it as it is then."""
        await self.ask(name, kind, **wanted)
        await self.world.settle(self.sandbox_id)
        return await self.get(name)

    async def revert(self, name: str) -> Snapshot:
        await self.world.services.snapshots.revert(self.sandbox_id, name, Intent(actor=ME))
        await self.world.settle(self.sandbox_id)
        return await self.get(name)

    async def delete(self, name: str) -> None:
        await self.world.services.snapshots.remove(self.sandbox_id, name, Intent(actor=ME))
        await self.world.settle(self.sandbox_id)

    async def get(self, name: str) -> Snapshot:
        return await self.world.services.snapshots.get(self.sandbox_id, name)

    async def all(self) -> tuple[Snapshot, ...]:
        return await self.world.store.read(lambda tx: tx.snapshots.of_sandbox(self.sandbox_id))

    def write(self, block: int, text: str) -> None:
        """Have the guest write to its disk."""
        disk = self.driver.host.domains[self.uuid].disks[0]
        self.driver.host.disks.write(disk, block, text)

    def read(self, volume: str | None = None) -> Blocks:
        """Return what the guest reads, or what would be read from a volume."""
        disk = self.driver.host.domains[self.uuid].disks[0]
        return read_disk(self.driver.host, volume or disk)

    async def sandbox(self) -> Sandbox:
        return await self.world.sandbox(self.sandbox_id)

    async def check(self) -> None:
        """Records, host and ledger tell the same, and nothing is kept that nothing needs."""
        await self.world.assert_ledger()
        volumes = await self.world.volumes(self.sandbox_id)
        listed, host = layers.disks(volumes), self.driver.host
        there = {name for name in host.volumes if name.startswith(self.sandbox_id.lower())}
        assert there - {f"{self.sandbox_id.lower()}-seed.iso"} == set(listed)
        for volume in listed.values():
            backing = (host.volumes[volume.name].backing or "").rpartition("/")[2]
            assert backing == (volume.backing or IMAGE), volume
        live = layers.live(volumes)
        assert live is not None
        assert host.domains[self.uuid].disks[0] == live.name
        domain = await self.driver.domain(self.uuid)
        assert domain is not None
        # What only the mark tells of after the database is lost.
        assert domain.mark is not None
        marked = read_mark(domain.mark.document).volumes
        assert {one.name: one.role for one in volumes}.items() <= marked.items()
        every = await self.all()
        (held,) = await self.world.allocations(self.sandbox_id)
        assert held.storage_mb == storage_due(await self.sandbox(), every, volumes)
        assert not any(one.unfinished for one in every)
        sandbox = await self.sandbox()
        assert sandbox.phase is None
        assert (
            layers.next_action(volumes, [s for s in every if s.state is SnapshotState.READY])
            is None
        )


async def bench(world: World) -> Bench:
    """Return a sandbox that runs on a machine of its own."""
    driver = await world.add_seen_host()
    sandbox = await world.created()
    return Bench(world=world, driver=driver, sandbox_id=sandbox.id)
