"""A disk five layers deep on real libvirt, its points deleted in any order and read with qemu-io.

What to merge is decided by the rule that decides in the daemon; each point was written to by hand,
so a merge into the wrong layer, or of too much, is read at once. No guest is booted for it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from pathlib import Path

import pytest

from scheduler.hosts import DomainPlan
from scheduler.lifecycle import layers
from scheduler.lifecycle.layers import Merge, Remove
from scheduler.model import Snapshot, SnapshotKind, Volume, VolumeRole, VolumeState
from tests.clocks import START
from tests.fleet.fleet import Fleet
from tests.fleet.host import IMAGES, Host
from tests.fleet.process import ProcessError
from tests.hosts import subjects
from tests.hosts.subjects import Subject
from tests.waits import until_answer

pytestmark = [pytest.mark.fleet, pytest.mark.slow, pytest.mark.timeout(900)]

DEPTH = 5
ORDERS = [*permutations(range(DEPTH))]
EVERY = int(os.environ.get("SANDBOXD_TEST_ORDERS", "23"))
TRIED = ORDERS[::EVERY]
"""Oldest first, newest first, and what lies between; `SANDBOXD_TEST_ORDERS=1` tries them all."""
BLOCK_KIB = 64


@dataclass
class Disk:
    """One domain's disk: what the daemon's records would say of it, and the host that has it."""

    host: Host
    subject: Subject
    plan: DomainPlan
    volumes: dict[str, Volume] = field(default_factory=dict)
    snapshots: dict[str, Snapshot] = field(default_factory=dict)

    @property
    def live(self) -> str:
        found = layers.live(self.volumes.values())
        assert found is not None
        return found.name

    async def deepen(self, number: int) -> None:
        """Write to the live layer, and freeze it under a name."""
        self.write(number, number + 1)
        name = layers.new_name(self.plan.name, [*self.volumes.values()])
        assert await self.subject.driver.freeze(self.plan.uuid, name) is False
        self.snapshots[f"s{number}"] = Snapshot(
            id=f"s{number}",
            sandbox_id=self.plan.name,
            name=f"s{number}",
            kind=SnapshotKind.EXTERNAL,
            ref=self.live,
            created_at=START,
        )
        self.volumes[name] = listed(self.plan, name, VolumeRole.LAYER, backing=self.live)
        self._take_over(layers.put_live([*self.volumes.values()], name))
        await self._restate()

    async def delete(self, name: str) -> None:
        """Delete a point, step by step as the daemon does, and leave the domain off."""
        del self.snapshots[name]
        driver, uuid = self.subject.driver, self.plan.uuid
        while (action := self._next()) is not None:
            if isinstance(action, Remove):
                await driver.delete_volume(action.name)
                assert await driver.volumes_absent([action.name])
                del self.volumes[action.name]
                continue
            await self._merge(action)
        await driver.power_off(uuid)

    def write(self, block: int, pattern: int) -> None:
        self._io(self.live, f"write -P {pattern} {block * BLOCK_KIB}k {BLOCK_KIB}k")

    def reads(self, volume: str, patterns: Sequence[int]) -> bool:
        """Return whether the blocks of a volume, with all below it, are of these patterns."""
        try:
            for block, pattern in enumerate(patterns):
                self._io(volume, f"read -P {pattern} {block * BLOCK_KIB}k {BLOCK_KIB}k")
        except ProcessError:
            return False
        return True

    def _io(self, volume: str, command: str) -> None:
        said = self.host.run("qemu-io", "-f", "qcow2", "-c", command, f"{IMAGES}/{volume}")
        if "Pattern verification failed" in said:
            raise ProcessError(said)

    def _next(self) -> Remove | Merge | None:
        return layers.next_action([*self.volumes.values()], [*self.snapshots.values()])

    async def _merge(self, action: Merge) -> None:
        async def done() -> bool:
            pair = (action.lower, action.upper)
            return await self.subject.driver.merge(self.plan.uuid, *pair, runs=False)

        await until_answer(done, seconds=120, what=str(action))
        if action.pulls:
            await self.subject.driver.power_off(self.plan.uuid)
        self._take_over(layers.merged([*self.volumes.values()], action))
        for one in layers.renamed([*self.snapshots.values()], action):
            self.snapshots[one.name] = one
        await self._restate()

    def _take_over(self, changed: Sequence[Volume]) -> None:
        self.volumes |= {one.name: one for one in changed}

    async def _restate(self) -> None:
        overlay, *below = layers.chain([*self.volumes.values()], self.live)
        await self.subject.driver.restate(replace(self.plan, overlay=overlay, layers=tuple(below)))


def listed(plan: DomainPlan, name: str, role: VolumeRole, backing: str | None = None) -> Volume:
    return Volume(
        owner=plan.name,
        host_id="HST-1",
        pool=plan.pool,
        name=name,
        role=role,
        state=VolumeState.PLANNED if backing else VolumeState.CREATED,
        created_at=START,
        backing=backing,
    )


@pytest.fixture
async def disk(one_host: Fleet, tmp_path: Path) -> AsyncIterator[Disk]:
    """Five points: point n reads n + 1 patterns, and the live layer reads another one first."""
    host = one_host["h1"]
    async with subjects.real(tmp_path, host, one_host.access) as subject:
        plan = subject.plan()
        await subject.build(plan)
        disk = Disk(host, subject, plan)
        disk.volumes[plan.overlay] = listed(plan, plan.overlay, VolumeRole.OVERLAY)
        for number in range(DEPTH):
            await disk.deepen(number)
        disk.write(0, 99)
        yield disk


@pytest.mark.parametrize("order", TRIED, ids=str)
async def test_five_deep_deleted_in_some_orders(disk: Disk, order: tuple[int, ...]) -> None:
    for number in order:
        await disk.delete(f"s{number}")
        for one in disk.snapshots.values():
            patterns = [n + 1 if n <= int(one.name[1:]) else 0 for n in range(DEPTH)]
            assert disk.reads(one.ref, patterns), one
        assert disk.reads(disk.live, [99, *range(2, DEPTH + 1)])
        assert len(disk.volumes) == 1 + len(disk.snapshots)
    await disk.subject.driver.start(disk.plan.uuid)
    await disk.subject.driver.power_off(disk.plan.uuid)
    await disk.subject.driver.undefine(disk.plan.uuid)
