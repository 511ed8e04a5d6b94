"""Snapshots and layers of a host in memory, with what guests wrote, so that no merge can lie.

A guest's disk is numbered blocks; a volume holds those written while it was live, and what is not
in it is read from the volume below.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from scheduler.errors import HostRefused
from scheduler.hosts.failures import ObjectAbsent, ObjectBusy
from scheduler.hosts.plans import DomainPlan
from scheduler.model.observations import DomainState, ObservedVolume, StateReason

if TYPE_CHECKING:
    from tests.hosts.fake_host import FakeDomain, FakeHost

T = TypeVar("T")
Blocks = dict[int, str]


@dataclass(slots=True, kw_only=True)
class FakeSnapshot:
    """What a snapshot inside a disk keeps."""

    blocks: Blocks
    memory: bool
    counter: int = 0
    """What the guest's memory held."""


@dataclass(slots=True, kw_only=True)
class FakeDisks:
    """What guests wrote to the volumes of one host, and the snapshots inside them."""

    blocks: dict[str, Blocks] = field(default_factory=dict)
    snapshots: dict[str, dict[str, FakeSnapshot]] = field(default_factory=dict)
    """By the domain's UUID and the snapshot's name."""
    counters: dict[str, int] = field(default_factory=dict)
    """What the memory of a running guest holds."""
    unwritten: dict[str, tuple[Blocks, str | None]] = field(default_factory=dict)
    """What a live layer took up and holds in memory only, and what it lay on before."""
    jobs: set[str] = field(default_factory=set)
    """The domains, by UUID, that a call without an answer is working on."""
    merging: set[tuple[str, str]] = field(default_factory=set)
    merges_take: int = 1
    """How often a merge is asked for before it is done."""

    def write(self, volume: str, block: int, text: str) -> None:
        """Have a guest write to the volume that is its live one."""
        self.blocks.setdefault(volume, {})[block] = text


def lose_power(host: FakeHost) -> None:
    """Forget what was in memory only: every guest ends, and layers are what was written down."""
    for domain in host.domains.values():
        if domain.active:
            domain.state, domain.reason = DomainState.SHUT_OFF, StateReason.OTHER
    for name, (blocks, backing) in host.disks.unwritten.items():
        if name in host.volumes:
            held = host.disks.blocks.get(name, {})
            host.disks.blocks[name] = {n: t for n, t in held.items() if blocks.get(n) != t}
            host.volumes[name] = replace(host.volumes[name], backing=backing)
    host.disks.unwritten.clear()


def chain_of(host: FakeHost, volume: str) -> list[str]:
    """Return the volumes that a volume's content is read from, itself first."""
    chain = [volume]
    while (found := host.volumes.get(chain[-1])) is not None and found.backing is not None:
        chain.append(found.backing.rpartition("/")[2])
    return chain


def read_disk(host: FakeHost, volume: str) -> Blocks:
    """Return what a guest would read from this volume."""
    read: Blocks = {}
    for name in reversed(chain_of(host, volume)):
        read |= host.disks.blocks.get(name, {})
    return read


class FakeSnapshots:
    """The verbs of the port that are about snapshots."""

    host: FakeHost
    _ours: Callable[[str], FakeDomain | None]
    _call: Callable[[str, Callable[[], T]], Awaitable[T]]
    _define: Callable[[DomainPlan], None]
    _planned: Callable[[DomainPlan], FakeDomain]

    async def take_snapshot(self, uuid: str, name: str) -> bool:
        return await self._call("take_snapshot", lambda: self._take(uuid, name))

    async def revert_snapshot(self, uuid: str, name: str) -> None:
        await self._call("revert_snapshot", lambda: self._revert(uuid, name))

    async def delete_snapshot(self, uuid: str, name: str) -> None:
        await self._call("delete_snapshot", lambda: self._forget(uuid, name))

    async def live_layer(self, uuid: str) -> str | None:
        return await self._call("live_layer", lambda: self._live(uuid))

    async def settled_layer(self, uuid: str) -> str | None:
        return await self._call("settled_layer", lambda: self._settled(uuid))

    async def create_layer(self, name: str, on: str) -> None:
        await self._call("create_layer", lambda: self._layer(name, on))

    async def freeze(self, uuid: str, layer: str) -> bool:
        return await self._call("freeze", lambda: self._freeze(uuid, layer))

    async def merge(self, uuid: str, lower: str, upper: str, *, runs: bool) -> bool:
        return await self._call("merge", lambda: self._merge(uuid, lower, upper, runs=runs))

    async def flush(self, uuid: str) -> bool:
        return await self._call("flush", lambda: self._flush(uuid))

    async def restate(self, plan: DomainPlan) -> None:
        await self._call("restate", lambda: self._restate(plan))

    def _present(self, uuid: str) -> FakeDomain:
        domain = self._ours(uuid)
        if domain is None:
            raise ObjectAbsent(f"there is no domain {uuid}")
        return domain

    def _take(self, uuid: str, name: str) -> bool:
        domain, disks = self._present(uuid), self.host.disks
        kept = disks.snapshots.setdefault(uuid, {})
        if name not in kept:
            kept[name] = FakeSnapshot(
                blocks=dict(disks.blocks.get(domain.disks[0], {})),
                memory=domain.active,
                counter=disks.counters.get(uuid, 0),
            )
        return kept[name].memory

    def _revert(self, uuid: str, name: str) -> None:
        domain, disks = self._present(uuid), self.host.disks
        found = disks.snapshots.get(uuid, {}).get(name)
        if found is None:
            raise ObjectAbsent(f"the domain {uuid} has no snapshot {name}")
        disks.blocks[domain.disks[0]] = dict(found.blocks)
        disks.counters[uuid] = found.counter
        domain.state = DomainState.RUNNING if found.memory else DomainState.SHUT_OFF
        domain.reason = StateReason.OTHER

    def _forget(self, uuid: str, name: str) -> None:
        self._ours(uuid)
        self.host.disks.snapshots.get(uuid, {}).pop(name, None)

    def _live(self, uuid: str) -> str | None:
        domain = self._ours(uuid)
        return None if domain is None else domain.disks[0]

    def _settled(self, uuid: str) -> str | None:
        domain = self._ours(uuid)
        if domain is not None and uuid in self.host.disks.jobs:
            raise ObjectBusy(f"the disk of the domain {uuid} is being worked on still")
        return None if domain is None else domain.disks[0]

    def _layer(self, name: str, on: str) -> None:
        below = self.host.volumes.get(on)
        if below is None:
            raise ObjectAbsent(f"there is no layer {on!r}")
        wanted = ObservedVolume(
            name=name,
            path=f"/pool/{name}",
            capacity=below.capacity,
            physical=196 * 1024,
            format="qcow2",
            backing=below.path,
        )
        if self.host.volumes.setdefault(name, wanted) != wanted:
            raise HostRefused(f"the pool holds another volume {name!r}")

    def _freeze(self, uuid: str, layer: str) -> bool:
        domain = self._present(uuid)
        if self._settled(uuid) == layer:
            return False
        if domain.active:
            self._check_able()
            self.host.volumes.pop(layer, None)
        self._layer(layer, domain.disks[0])
        if domain.active:
            self.host.disks.unwritten.pop(domain.disks[0], None)
            domain.disks = (layer,)
        return domain.active and self.host.agents

    def _merge(self, uuid: str, lower: str, upper: str, *, runs: bool) -> bool:
        domain, disks = self._present(uuid), self.host.disks
        chain = chain_of(self.host, domain.disks[0])
        pulls = upper == chain[0]
        if (lower if pulls else upper) not in chain:
            return True
        self._check_able()
        if not domain.active:
            if runs:
                raise ObjectBusy(f"the guest of {uuid} has ended")
            domain.state, domain.reason = DomainState.PAUSED, StateReason.USER
        if disks.merges_take and (lower, upper) not in disks.merging:
            disks.merging.add((lower, upper))
            return False
        disks.merging.discard((lower, upper))
        both = {**disks.blocks.get(lower, {}), **disks.blocks.get(upper, {})}
        volumes = self.host.volumes
        if pulls:
            taken = {n: t for n, t in both.items() if n not in disks.blocks.get(upper, {})}
            held, backing = disks.unwritten.get(upper, ({}, volumes[upper].backing))
            disks.unwritten[upper] = ({**held, **taken}, backing)
            disks.blocks[upper] = both
            volumes[upper] = replace(volumes[upper], backing=volumes[lower].backing)
        else:
            disks.blocks[lower] = both
            over = chain[chain.index(upper) - 1]
            volumes[over] = replace(volumes[over], backing=volumes[lower].path)
        return True

    def _flush(self, uuid: str) -> bool:
        domain = self._present(uuid)
        if (domain.state, domain.reason) == (DomainState.PAUSED, StateReason.USER):
            return False
        self.host.disks.unwritten.pop(domain.disks[0], None)
        return True

    def _restate(self, plan: DomainPlan) -> None:
        present = self._ours(plan.uuid)
        if present is None:
            self._define(plan)
            return
        chain = chain_of(self.host, plan.overlay)
        if chain[: 1 + len(plan.layers)] != [plan.overlay, *plan.layers]:
            raise HostRefused(f"the chain {chain} is not as planned: {plan.layers}")
        planned = self._planned(plan)
        present.mark_xml = planned.mark_xml
        if not present.active:
            present.disks = planned.disks

    def _check_able(self) -> None:
        if not self.host.freezes:
            raise HostRefused("this host cannot freeze or merge the layers of a disk")
