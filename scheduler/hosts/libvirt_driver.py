"""The port on libvirt: verbs become calls on a host's lane, one hop each.

Observing and mutating use connections of their own, because a hung mutation must not blind us.
Where a host's state lives with its connection, as in libvirt's test driver inside the process, both
are the same one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

import structlog

from scheduler.clock import Clock
from scheduler.errors import HostRefused
from scheduler.hosts import consoles, domains, volumes
from scheduler.hosts.accelerators import Accelerator, prove_virt_type
from scheduler.hosts.addresses import find_addresses
from scheduler.hosts.calls import CallsOf
from scheduler.hosts.connection import Connection
from scheduler.hosts.deadlines import DEADLINE_SECONDS, Verb
from scheduler.hosts.foreign import find_foreign
from scheduler.hosts.handles import Handle, Listener
from scheduler.hosts.inventory import Look, Memory, find_domain, is_starved, take_inventory
from scheduler.hosts.lanes import Lane, LaneLimits
from scheduler.hosts.marks import Keyring
from scheduler.hosts.plans import BaseImage, DomainPlan, NewReplica
from scheduler.hosts.pool_turns import PoolTurns
from scheduler.hosts.routes import Route
from scheduler.hosts.snapshot_verbs import SnapshotVerbs
from scheduler.hosts.threads import Threads
from scheduler.model.hosts import HostResources, Transport, VirtType
from scheduler.model.observations import (
    AddressReport,
    ForeignMachine,
    Heard,
    Inventory,
    ObservedDomain,
    ObservedVolume,
)

T = TypeVar("T")

REFRESH_SECONDS = 60.0
"""How often a poll has the pool refreshed, so that images put there by hand are seen."""

_log = structlog.get_logger()


class LibvirtDriver(SnapshotVerbs):
    """A host behind libvirt; belongs to the event loop's thread."""

    def __init__(
        self,
        host: HostResources,
        *,
        route: Route,
        threads: Threads,
        keyring: Keyring,
        clock: Clock,
        calls: CallsOf,
        on_hint: Callable[[str], None],
        deadlines: Mapping[Verb, float] = DEADLINE_SECONDS,
    ) -> None:
        self._host = host
        self._route = route
        self._keyring = keyring
        self._clock = clock
        self._calls = calls
        self._hint = partial(on_hint, host.id)
        self._loop = asyncio.get_running_loop()
        self._memory = Memory(keyring)
        self._remembered: Handle | None = None
        self._turns = PoolTurns(host, clock, deadlines)
        self._refreshed_at: float | None = None
        self._proof = Accelerator(clock)
        lane = Lane(host.name, threads)
        connect = partial(
            Connection,
            host=host.name,
            route=route,
            lane=lane,
            calls=calls,
            clock=clock,
            deadlines=deadlines,
        )
        listener = Listener(domain_changed=self._changed, closed=self._told)
        self._watching = connect(listener=listener, at_once=1)
        shared = host.transport is Transport.TEST
        self._observing = self._watching if shared else connect()
        self._mutating = self._watching if shared else connect()
        # Whole images are carried over one of their own, so that nobody waits behind them.
        self._carrying = self._watching if shared else connect(at_once=1)
        # Keeping a guest's memory takes long: one at a time, and no other change waits for it.
        self._snapping = self._watching if shared else connect(at_once=1)
        # So does copying a whole disk on its host: one at a time too.
        self._flattening = self._watching if shared else connect(at_once=1)
        # Consoles have a lane of their own: what hangs there closes it to nobody else.
        apart = Lane(host.name, threads, limits=LaneLimits(abandoned=1))
        self._listening = self._watching if shared else connect(lane=apart, at_once=1)
        self._merges: dict[str, int] = {}
        self.adopt(host)

    def adopt(self, host: HostResources) -> None:
        """Go by this record from now on: another pool, or another machine to be expected."""
        self._host = host
        for connection in self._connections():
            connection.expect(host.host_uuid)

    async def inventory(self) -> Inventory:
        """Return a complete look at the host, its pool refreshed now and then before it.

        While a guest is paused for want of room, what room there is is looked up at every look.
        """
        virt_type = await self._virt_type()
        await self._refresh_when_due()
        inventory = await self._looked(virt_type)
        if any(is_starved(domain) for domain in inventory.domains):
            self._refreshed_at = None
            await self._refresh_when_due()
            inventory = await self._looked(virt_type)
        return inventory

    async def _looked(self, virt_type: VirtType) -> Inventory:
        look = Look(
            host_id=self._host.id,
            pool=self._host.pool,
            virt_type=virt_type,
            begun_at=self._clock.monotonic(),
            seen_at=self._clock.now(),
        )
        return await self._watching.call(Verb.INVENTORY, lambda handle: self._look(handle, look))

    async def domain(self, uuid: str) -> ObservedDomain | None:
        """Return the domain as it is now; None is the host's own word that there is none."""
        return await self._observing.call(
            Verb.LOOK_UP,
            lambda handle: find_domain(handle.conn, uuid, self._keyring),
            subject=_alone(Verb.LOOK_UP, uuid),
        )

    async def ensure_pool(self) -> None:
        """Start the host's pool when it is inactive."""
        await self._on_pool(Verb.POOL, volumes.start_pool)

    async def refresh_pool(self) -> None:
        """Have the host look at the pool's files again."""
        await self._on_pool(Verb.POOL, volumes.refresh)
        self._note_refresh()

    async def volume(self, name: str) -> ObservedVolume | None:
        """Return the pool's volume of this name; None when the host says there is none."""
        return await self._observing.call(
            Verb.LOOK_UP,
            lambda handle: volumes.find_volume(handle, self._host.pool, name),
        )

    async def inspect_base(self, name: str) -> BaseImage:
        """Return the golden image of this name, or refuse what must not be cloned."""
        return await self._observing.call(
            Verb.DOWNLOAD,
            lambda handle: volumes.inspect_base(handle, self._host.pool, name),
        )

    async def create_overlay(self, name: str, base: BaseImage, capacity_mb: int) -> None:
        """Make an empty clone of `base`; an equal one that is there already is fine."""
        capacity = capacity_mb * 2**20
        await self._on_pool(
            Verb.CREATE_VOLUME,
            lambda handle, pool: volumes.create_overlay(handle, pool, name, base, capacity),
        )

    async def create_seed(self, name: str, iso: bytes) -> bool:
        """Store the seed's bytes as a volume; False when the host takes no uploads."""
        return await self._on_pool(
            Verb.UPLOAD,
            lambda handle, pool: volumes.create_seed(handle, pool, name, iso),
        )

    async def users_of(self, name: str) -> tuple[str, ...]:
        """Return the names of the domains whose disk this volume is while they run."""
        return await self._observing.call(
            Verb.LOOK_UP, lambda handle: domains.running_on(handle, self._host.pool, name)
        )

    async def create_replica(self, name: str, image: NewReplica) -> bool:
        """Make an empty volume for an image's bytes; False when the host takes none."""
        made = await self._on_pool(
            Verb.CREATE_VOLUME,
            lambda handle, pool: volumes.create_replica(handle, pool, name, image),
        )
        self._memory.forget_volumes()  # another of its name may have been there; no refresh was
        return made

    async def write_volume(self, name: str, offset: int, content: bytes) -> None:
        """Write a part of a volume's file."""
        await self._carrying.call(
            Verb.TRANSFER,
            lambda handle: volumes.write_part(handle, self._host.pool, name, offset, content),
        )

    async def read_volume(self, name: str, offset: int, length: int) -> bytes | None:
        """Return a part of a volume's file; None when the host gives no bytes."""
        return await self._carrying.call(
            Verb.TRANSFER,
            lambda handle: volumes.read_part(handle, self._host.pool, name, offset, length),
        )

    async def flatten_volume(self, source: str, name: str) -> None:
        """Make a volume of its own with all that a volume and its layers hold.

        Meanwhile the pool can do everything but be refreshed, so its lock is not held.
        """
        await self.delete_volume(name)  # a torn try's
        with self._turns.beside():
            await self._flattening.call(
                Verb.FLATTEN,
                lambda handle: volumes.flatten_volume(handle, self._host.pool, source, name),
            )
        self._memory.forget_volumes()

    async def delete_volume(self, name: str) -> None:
        """Delete the volume; one that is gone already is fine."""
        await self._on_pool(
            Verb.DELETE_VOLUME,
            lambda handle, pool: volumes.delete_volume(handle, pool, name),
        )

    async def volumes_absent(self, names: Sequence[str]) -> bool:
        """Return whether a fresh look at the pool proves that none of these volumes exists."""
        if not names:
            return True
        absent = await self._on_pool(
            Verb.POOL, lambda handle, pool: volumes.all_absent(handle, pool, names)
        )
        self._note_refresh()
        return absent

    async def define(self, plan: DomainPlan) -> None:
        """Define the domain with its mark and prove that the host understood it as planned."""
        await self._on_domain(
            Verb.DEFINE, plan.uuid, lambda handle: domains.define(handle, plan, self._keyring)
        )

    async def start(self, uuid: str) -> None:
        """Start our domain."""
        await self._on_domain(
            Verb.START, uuid, lambda handle: domains.start(handle, uuid, self._keyring)
        )

    async def shutdown(self, uuid: str) -> None:
        """Ask our domain's guest to shut down."""
        await self._on_domain(
            Verb.SHUT_DOWN,
            uuid,
            lambda handle: domains.shut_down(handle, uuid, self._keyring),
        )

    async def power_off(self, uuid: str) -> None:
        """Stop our domain at once; the cure of a QEMU on which other calls hang."""
        await self._mutating.call(
            Verb.POWER_OFF,
            lambda handle: domains.power_off(handle, uuid, self._keyring),
            subject=_alone(Verb.POWER_OFF, uuid),
        )

    async def resume(self, uuid: str) -> None:
        """Let our domain go on that the host paused after a failed write."""
        await self._on_domain(
            Verb.RESUME, uuid, lambda handle: domains.resume(handle, uuid, self._keyring)
        )

    async def undefine(self, uuid: str) -> None:
        """Remove our stopped domain and all that libvirt keeps beside it."""
        await self._on_domain(
            Verb.UNDEFINE,
            uuid,
            lambda handle: domains.undefine(handle, uuid, self._keyring),
        )

    async def addresses(self, uuid: str, mac: str, network: str) -> AddressReport:
        """Return the guest's address from the most trusted source that knows one."""
        return await self._observing.call(
            Verb.ADDRESSES,
            lambda handle: find_addresses(handle, uuid, mac, network),
            subject=uuid,
        )

    async def listen(self, uuids: Collection[str]) -> Mapping[str, Heard]:
        """Listen to the consoles of these domains of ours, and to no other from now on."""
        if not uuids and not self._listening.is_open:
            return {}
        return await self._listening.call(
            Verb.LISTEN, lambda handle: consoles.listen(handle, uuids, self._keyring)
        )

    async def foreign_machine(self, uuid: str) -> ForeignMachine | None:
        """Return a machine that is not ours, looked at and not touched; None for any other."""
        return await self._observing.call(
            Verb.ADDRESSES,
            lambda handle: find_foreign(handle, uuid, self._host.pool, self._keyring),
            subject=uuid,
        )

    async def aclose(self) -> None:
        """Let go of the host."""
        for connection in self._connections():
            await connection.aclose()
        await self._route.aclose()

    def _connections(self) -> tuple[Connection, ...]:
        asking = (self._watching, self._observing, self._mutating)
        return (*asking, self._carrying, self._snapping, self._flattening, self._listening)

    def _changed(self, uuid: str) -> None:
        """Take libvirt's hint, in libvirt's thread."""
        self._calls.heard()
        self._memory.domain_changed(uuid)
        self._told()

    def _told(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self._hint)

    def _look(self, handle: Handle, look: Look) -> Inventory:
        if handle is not self._remembered:  # changes may have been missed in between
            self._memory, self._remembered = Memory(self._keyring), handle
        return take_inventory(handle, look, self._memory)

    async def _virt_type(self) -> VirtType:
        handle = await self._watching.open()
        if not handle.abilities.hypervisor:
            return VirtType.TEST
        if self._host.virt_type is not VirtType.AUTO:
            return self._host.virt_type
        prove = partial(self._mutating.call, Verb.PROBE, prove_virt_type)
        return await self._proof.virt_type(handle.identity, prove)

    async def _on_domain(self, verb: Verb, uuid: str, function: Callable[[Handle], None]) -> None:
        await self._mutating.call(verb, function, subject=uuid)

    async def _on_pool(
        self, verb: Verb, function: Callable[[Handle, str], T], *, subject: str | None = None
    ) -> T:
        """Run `function` on the pool when it is its turn."""
        pool = self._host.pool
        call = partial(
            self._mutating.call, verb, lambda handle: function(handle, pool), subject=subject
        )
        return await self._turns.take(verb, call)

    async def _refresh_when_due(self) -> None:
        """Refresh the pool for a poll; a failure is told by what the poll then sees."""
        now = self._clock.monotonic()
        due = self._refreshed_at is None or now - self._refreshed_at >= REFRESH_SECONDS
        if not due or not self._turns.idle:
            return
        async with self._turns.lock:
            try:
                await self._mutating.call(
                    Verb.POOL,
                    lambda handle: volumes.refresh(handle, self._host.pool),
                )
            except HostRefused as error:
                _log.warning("host.pool.not_refreshed", host=self._host.name, why=error.message)
                return
        self._note_refresh()

    def _note_refresh(self) -> None:
        self._refreshed_at = self._clock.monotonic()
        self._memory.forget_volumes()


def _alone(verb: Verb, uuid: str) -> str:
    """Return the subject of a call that only its own kind keeps from being begun.

    libvirt answers what a domain is, and kills its QEMU, while other calls wait for that QEMU.
    """
    return f"{uuid} ({verb})"
