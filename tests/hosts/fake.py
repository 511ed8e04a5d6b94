"""A host in memory, for faults that no real host can be brought to have at the right moment.

It passes the same contract suite as the libvirt adapter, and its marks are really signed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from scheduler.clock import Clock
from scheduler.errors import HostRefused, HostTimeout, HostUnreachable
from scheduler.hosts.deadlines import DEADLINE_SECONDS, Verb
from scheduler.hosts.failures import ObjectAbsent
from scheduler.hosts.image_header import HEADER_BYTES, read_image_header
from scheduler.hosts.marks import Forgery, Keyring
from scheduler.hosts.plans import BaseImage, DomainPlan, NewReplica
from scheduler.model.hosts import VirtType
from scheduler.model.observations import (
    AddressReport,
    DomainState,
    ForeignMachine,
    Inventory,
    Mark,
    ObservedDomain,
    ObservedPool,
    ObservedVolume,
    StateReason,
)
from scheduler.model.sandboxes import IpSource
from scheduler.signs_of_life import bounded
from tests.hosts.fake_consoles import FakeConsole, FakeConsoles
from tests.hosts.fake_host import MIB, FakeDomain, FakeHost, foreign_machine
from tests.hosts.fake_snapshots import FakeSnapshots, read_disk
from tests.hosts.misfortune import Fault

__all__ = ["FakeDomain", "FakeDriver", "FakeHost"]

T = TypeVar("T")

_VERBS = {"flatten_volume": Verb.FLATTEN, "take_snapshot": Verb.SNAPSHOT}
"""What may take longer than most things."""


class FakeDriver(FakeConsoles, FakeSnapshots):
    """The port on a FakeHost."""

    def __init__(
        self,
        host: FakeHost,
        keyring: Keyring,
        clock: Clock,
        on_hint: Callable[[str], None] | None = None,
    ) -> None:
        self.host = host
        self.reachable = True
        self.calls: Counter[str] = Counter()
        """How often each verb was asked for."""
        self.faults: dict[str, Fault] = {}
        self.gate: asyncio.Event | None = None
        """While set and not open, every call hangs."""
        self.gates: dict[str, asyncio.Event] = {}
        """The same for single verbs."""
        self._keyring = keyring
        self._clock = clock
        self._on_hint = on_hint
        self._consoles: dict[str, FakeConsole] = {}

    def fail(self, verb: str, error: Exception, *, times: int = 1, after: bool = False) -> None:
        """Have the next calls of a verb fail, before or after their effect."""
        self.faults[verb] = Fault(error=error, times=times, after=after)

    def time_out(self, verb: str, *, times: int = 1) -> None:
        """Have the next calls of a verb take effect, and their answers be lost."""
        lost = HostTimeout(f"host {self.host.host_id} did not {verb} in time")
        self.fail(verb, lost, times=times, after=True)

    async def inventory(self) -> Inventory:
        begun_at = self._clock.monotonic()
        return await self._call("inventory", lambda: self._inventory(begun_at))

    async def domain(self, uuid: str) -> ObservedDomain | None:
        return await self._call("domain", lambda: self._find(uuid))

    async def ensure_pool(self) -> None:
        await self._call("ensure_pool", self._start_pool)

    async def refresh_pool(self) -> None:
        await self._call("refresh_pool", self._start_pool)

    async def volume(self, name: str) -> ObservedVolume | None:
        return await self._call("volume", lambda: self._volumes().get(name))

    async def inspect_base(self, name: str) -> BaseImage:
        return await self._call("inspect_base", lambda: self._inspect(name))

    async def create_overlay(self, name: str, base: BaseImage, capacity_mb: int) -> None:
        await self._call("create_overlay", lambda: self._overlay(name, base, capacity_mb))

    async def create_seed(self, name: str, iso: bytes) -> bool:
        return await self._call("create_seed", lambda: self._seed(name, iso))

    async def users_of(self, name: str) -> tuple[str, ...]:
        return await self._call("users_of", lambda: self._users(name))

    async def create_replica(self, name: str, image: NewReplica) -> bool:
        return await self._call("create_replica", lambda: self._replica(name, image))

    async def write_volume(self, name: str, offset: int, content: bytes) -> None:
        await self._call("write_volume", lambda: self._write(name, offset, content))

    async def read_volume(self, name: str, offset: int, length: int) -> bytes | None:
        return await self._call("read_volume", lambda: self._read(name, offset, length))

    async def flatten_volume(self, source: str, name: str) -> None:
        await self._call("flatten_volume", lambda: self._flatten(source, name))

    async def delete_volume(self, name: str) -> None:
        await self._call("delete_volume", lambda: self._delete(name))

    async def volumes_absent(self, names: Sequence[str]) -> bool:
        return await self._call("volumes_absent", lambda: not set(names) & set(self._volumes()))

    async def define(self, plan: DomainPlan) -> None:
        await self._call("define", lambda: self._define(plan))

    async def start(self, uuid: str) -> None:
        await self._call("start", lambda: self._start(uuid))

    async def shutdown(self, uuid: str) -> None:
        await self._call("shutdown", lambda: self._stop(uuid, StateReason.GUEST_SHUTDOWN))

    async def power_off(self, uuid: str) -> None:
        await self._call("power_off", lambda: self._stop(uuid, StateReason.KILLED))

    async def resume(self, uuid: str) -> None:
        await self._call("resume", lambda: self._resume(uuid))

    async def undefine(self, uuid: str) -> None:
        await self._call("undefine", lambda: self._undefine(uuid))

    async def addresses(self, uuid: str, mac: str, network: str) -> AddressReport:
        return await self._call("addresses", lambda: self._addresses(uuid, mac))

    async def foreign_machine(self, uuid: str) -> ForeignMachine | None:
        return await self._call("foreign_machine", lambda: self._foreign(uuid))

    async def aclose(self) -> None: ...

    async def _call(self, verb: str, effect: Callable[[], T]) -> T:
        self.calls[verb] += 1
        with bounded(DEADLINE_SECONDS[_VERBS.get(verb, Verb.LOOK_UP)]):
            gate = self.gates.get(verb, self.gate)
            if gate is not None:
                await gate.wait()
            await asyncio.sleep(0)  # a host call is never over at once
        if not self.reachable:
            raise HostUnreachable(f"host {self.host.host_id} does not answer")
        fault = self.faults.get(verb)
        if fault is None:
            return effect()
        fault.times -= 1
        if fault.times <= 0:
            del self.faults[verb]
        if fault.after:
            effect()
        raise fault.error

    def _hint(self) -> None:
        if self._on_hint is not None:
            self._on_hint(self.host.host_id)

    def _inventory(self, begun_at: float) -> Inventory:
        host = self.host
        return Inventory(
            host_id=host.host_id,
            begun_at=begun_at,
            seen_at=self._clock.now(),
            host_uuid=host.host_uuid,
            libvirt_version="9.0.0",
            arch=host.arch,
            total_cpus=host.cpus,
            total_memory_mb=host.memory_mb,
            virt_type=VirtType.QEMU,
            pool=ObservedPool(
                name=host.pool,
                active=host.pool_active,
                capacity=host.storage_mb * MIB,
                allocation=host.storage_mb * MIB - host.available,
                available=host.available,
                volumes=tuple(host.volumes.values()) if host.pool_active else (),
            ),
            networks=dict(host.networks),
            domains=tuple(self._observed(domain) for domain in host.domains.values()),
        )

    def _observed(self, domain: FakeDomain) -> ObservedDomain:
        mark = self._keyring.read(domain.mark_xml, domain.uuid)
        return ObservedDomain(
            uuid=domain.uuid,
            name=domain.name,
            state=domain.state,
            reason=domain.reason,
            vcpus=domain.vcpus,
            memory_mb=domain.memory_mb,
            mark=mark if isinstance(mark, Mark) else None,
            forged=isinstance(mark, Forgery),
        )

    def _find(self, uuid: str) -> ObservedDomain | None:
        domain = self.host.domains.get(uuid)
        return None if domain is None else self._observed(domain)

    def _ours(self, uuid: str) -> FakeDomain | None:
        domain = self.host.domains.get(uuid)
        if domain is not None and self._observed(domain).mark is None:
            raise HostRefused(f"the domain {uuid} does not carry our mark")
        return domain

    def _start_pool(self) -> None:
        self.host.pool_active = True

    def _volumes(self) -> dict[str, ObservedVolume]:
        if not self.host.pool_active:
            raise HostRefused(f"the pool {self.host.pool!r} is not active")
        return self.host.volumes

    def _inspect(self, name: str) -> BaseImage:
        volume = self._given(name)
        if name in self.host.contents:
            header = read_image_header(name, bytes(self.host.contents[name][:HEADER_BYTES]))
            capacity = header.capacity or len(self.host.contents[name])
            volume = replace(volume, format=header.format, capacity=capacity)
        if volume.backing is not None:
            raise HostRefused(f"image {name!r} depends on another file")
        return BaseImage(
            name=name,
            path=volume.path,
            format=volume.format or "raw",
            capacity=volume.capacity,
            physical=volume.physical,
        )

    def _overlay(self, name: str, base: BaseImage, capacity_mb: int) -> None:
        if capacity_mb * MIB < base.capacity:
            raise HostRefused("a disk smaller than its image")
        wanted = ObservedVolume(
            name=name,
            path=f"/pool/{name}",
            capacity=capacity_mb * MIB,
            physical=196 * 1024,
            format="qcow2",
            backing=base.path,
        )
        if self._volumes().setdefault(name, wanted) != wanted:
            raise HostRefused(f"the pool holds another volume {name!r}")

    def _seed(self, name: str, iso: bytes) -> bool:
        if self.host.streams:
            self._volumes()[name] = ObservedVolume(
                name=name,
                path=f"/pool/{name}",
                capacity=len(iso),
                physical=len(iso),
                format="raw",
            )
        return self.host.streams

    def _users(self, name: str) -> tuple[str, ...]:
        self._given(name)
        domains = self.host.domains.values()
        return tuple(one.name for one in domains if one.active and name in one.disks)

    def _given(self, name: str) -> ObservedVolume:
        volume = self._volumes().get(name)
        if volume is None:
            raise ObjectAbsent(f"there is no image {name!r}")
        return volume

    def _replica(self, name: str, image: NewReplica) -> bool:
        self._delete(name)
        if self.host.streams:
            self.host.contents[name] = bytearray(image.size)
        self._volumes()[name] = ObservedVolume(
            name=name,
            path=f"/pool/{name}",
            capacity=image.capacity,
            physical=image.size,
            format=image.format,
        )
        return self.host.streams

    def _write(self, name: str, offset: int, content: bytes) -> None:
        self._given(name)
        self.host.contents[name][offset : offset + len(content)] = content

    def _read(self, name: str, offset: int, length: int) -> bytes | None:
        self._given(name)
        if not self.host.streams:
            return None
        return bytes(self.host.contents.get(name, bytearray())[offset : offset + length])

    def _flatten(self, source: str, name: str) -> None:
        found, blocks = self._given(source), read_disk(self.host, source)
        self._delete(name)
        self._volumes()[name] = replace(found, name=name, path=f"/pool/{name}", backing=None)
        self.host.disks.blocks[name] = blocks
        if source in self.host.contents:
            self.host.contents[name] = bytearray(self.host.contents[source])

    def _delete(self, name: str) -> None:
        for held in (self._volumes(), self.host.contents, self.host.disks.blocks):
            held.pop(name, None)

    def _define(self, plan: DomainPlan) -> None:
        if plan.mark_document.get("domain_uuid") != plan.uuid:
            raise HostRefused("the mark is not for this domain")
        seed = plan.seed if self.host.streams else None
        for volume in filter(None, (plan.overlay, seed, *plan.layers)):
            if volume not in self._volumes():
                raise ObjectAbsent(f"there is no volume {volume!r}")
        names = {domain.name: domain.uuid for domain in self.host.domains.values()}
        if names.get(plan.name, plan.uuid) != plan.uuid:
            raise HostRefused(f"another domain is named {plan.name!r}")
        present = self._ours(plan.uuid)
        if present is None or not present.active:
            self.host.domains[plan.uuid] = self._planned(plan)
            self._hint()

    def _planned(self, plan: DomainPlan) -> FakeDomain:
        return FakeDomain(
            uuid=plan.uuid,
            name=plan.name,
            vcpus=plan.vcpus,
            memory_mb=plan.memory_mb,
            mac=plan.mac,
            disks=(plan.overlay,),
            mark_xml=self._keyring.sign(plan.mark_document),
        )

    def _start(self, uuid: str) -> None:
        domain = self._ours(uuid)
        if domain is None:
            raise ObjectAbsent(f"there is no domain {uuid} to start")
        if not domain.active:
            domain.state, domain.reason = DomainState.RUNNING, StateReason.OTHER
            domain.console = None
            taken = sum(other.address is not None for other in self.host.domains.values())
            domain.address = domain.address or f"192.168.122.{2 + taken}"
            self._hint()

    def _stop(self, uuid: str, reason: StateReason) -> None:
        domain = self._ours(uuid)
        if domain is not None and domain.active:
            domain.state, domain.reason = DomainState.SHUT_OFF, reason
            for disk in domain.disks[:1]:
                self.host.disks.unwritten.pop(disk, None)
            self._hint()

    def _resume(self, uuid: str) -> None:
        domain = self._ours(uuid)
        if domain is not None and domain.starved:
            domain.state, domain.reason = DomainState.RUNNING, StateReason.OTHER
            self._hint()

    def _undefine(self, uuid: str) -> None:
        domain = self._ours(uuid)
        if domain is None:
            return
        if domain.active:
            raise HostRefused(f"the domain {uuid} still runs")
        del self.host.domains[uuid]
        self.host.disks.snapshots.pop(uuid, None)
        self._hint()

    def _foreign(self, uuid: str) -> ForeignMachine | None:
        seen = self._find(uuid)
        if seen is None or seen.mark is not None or seen.forged:
            return None
        return foreign_machine(self.host, self.host.domains[uuid])

    def _addresses(self, uuid: str, mac: str) -> AddressReport:
        domain = self.host.domains.get(uuid)
        if domain is None:
            raise ObjectAbsent(f"there is no domain {uuid}")
        known = domain.address if domain.active and domain.mac == mac else None
        return AddressReport(
            address=known,
            source=None if known is None else IpSource.LEASE,
            said={"lease": known or "knows no address for this MAC"},
        )
