"""A store, services over it and hosts in memory, with the parts of the control plane laid out.

Everything is real but the hosts and the time. Each part can be taken by itself, step by step, or
all of them be run as the daemon runs them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from scheduler.control.breakers import Breakers
from scheduler.control.build_queue import BuildQueue
from scheduler.control.captures import Captures
from scheduler.control.converger import Converger
from scheduler.control.effects import Effects
from scheduler.control.leftovers import Leftovers
from scheduler.control.listings import Listings
from scheduler.control.looks import Look, Looker
from scheduler.control.mover import Mover
from scheduler.control.pace import Pace
from scheduler.control.plane import ControlPlane
from scheduler.control.reconciler import Reconciler
from scheduler.control.records import Records
from scheduler.control.relocator import Move, Relocator
from scheduler.control.replicas import ReplicaRecords
from scheduler.guests.connections import GuestConnections
from scheduler.hosts.driver import HostDriver
from scheduler.hosts.marks import Keyring
from scheduler.lifecycle.breaker import BreakerRules
from scheduler.lifecycle.steps import Limits
from scheduler.model import (
    Allocation,
    AllocationState,
    Event,
    HostResources,
    Sandbox,
    SandboxState,
    Volume,
)
from scheduler.service.catalogue import Shelf
from scheduler.service.fleet import FleetView
from scheduler.service.intents import Intent
from scheduler.service.journal import Journal
from scheduler.service.requests import CreateSandbox
from scheduler.service.services import Services, Wakes
from scheduler.service.terms import Terms
from scheduler.store import EventFilter, Store, StoreConfig, Transaction
from scheduler.validation.hosts import AddHost
from tests.clocks import ManualClock
from tests.control.manifests import Manifests
from tests.control.rest import at_rest
from tests.databases import sqlite_at
from tests.guests.unreached import no_guests
from tests.hosts.fake import FakeDomain, FakeDriver, FakeHost
from tests.waits import DEADLINE_SECONDS, until

CLUSTER = UUID("0e2b9a34-64a0-4d5e-8f6a-3f1d6f2b7c55")
IMAGE = "golden.qcow2"
ME = "uid:1000"
SMALL = {"vcpus": 1, "memory_mb": 512, "storage_mb": 1024}
DATABASE = "state.db"
STEP_SECONDS = 0.25
RELEASING = AllocationState.RELEASING


class FakeDrivers:
    """The way to every fake host, as `hosts.Drivers` gives it."""

    def __init__(self) -> None:
        self.by_host: dict[str, HostDriver] = {}
        self.forgotten: list[str] = []

    def get(self, host: HostResources) -> HostDriver:
        return self.by_host[host.id]

    async def forget(self, host_id: str) -> None:
        self.forgotten.append(host_id)


class Bell:
    """Takes the services' wakes to the plane that runs, if one does, and remembers them."""

    def __init__(self) -> None:
        self.plane: ControlPlane | None = None
        self.rung: list[str] = []

    def sandbox(self, sandbox_id: str) -> None:
        self.rung.append(sandbox_id)
        if self.plane is not None:
            self.plane.wake_sandbox(sandbox_id)

    def host(self, host_id: str) -> None:
        self.rung.append(host_id)
        if self.plane is not None:
            self.plane.wake_host(host_id)

    def image(self, key: str) -> None:
        self.rung.append(key)
        if self.plane is not None:
            self.plane.wake_image(key)

    def drain(self, host_id: str) -> None:
        self.rung.append(host_id)
        if self.plane is not None:
            self.plane.wake_drains(host_id)


MakeDriver = Callable[[FakeHost, Keyring, ManualClock], FakeDriver]


@dataclass(kw_only=True)
class World:
    """One cluster in memory, over a store on disk."""

    store: Store
    clock: ManualClock
    journal: Journal
    fleet: FleetView
    keyring: Keyring
    services: Services
    bell: Bell
    shelf: Shelf
    guests: GuestConnections
    drivers: FakeDrivers = field(default_factory=FakeDrivers)
    nudged: list[str] = field(default_factory=list)
    make_driver: MakeDriver = FakeDriver
    limits: Limits = field(default_factory=Limits)
    breaker_rules: BreakerRules = field(default_factory=BreakerRules)

    concluded: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listings = Listings(self.clock)
        self.manifests = Manifests(self.store, self.clock)
        self.records = Records(
            self.store, self.clock, changed=lambda *_: None, released=self.released
        )
        self.replicas = ReplicaRecords(self.store, self.clock)
        self.effects = Effects(self.records, self.replicas, self.clock, guests=self.guests)
        self.leftovers = Leftovers(
            self.store, self.clock, drivers=self.drivers.get, released=self.released
        )
        self.moves: list[Move] = []
        self.relocator = Relocator(
            self.store, self.clock, fleet=self.fleet, moved=self.moves.append
        )
        self.mover = Mover(
            self.store, self.clock, relocator=self.relocator, wake=self.nudged.append
        )
        self.captures = Captures(
            self.store, self.clock, wake=self.nudged.append, changed=lambda *_: None
        )
        self.breakers = Breakers(self.store, self.clock, fleet=self.fleet, rules=self.breaker_rules)
        self.converger = Converger(
            records=self.records,
            effects=self.effects,
            listings=self.listings,
            relocator=self.relocator,
            captures=self.captures,
            mover=self.mover,
            breakers=self.breakers,
            builds=BuildQueue(self.clock, self.nudged.append),
            drivers=self.drivers.get,
            limits=self.limits,
            replicate=self.nudged.append,
            snapshots=self.manifests.effects(self.records, self.effects, self.concluded),
        )
        self.looker = Looker(
            self.store, self.clock, drivers=self.drivers.get, listings=self.listings
        )
        self.reconciler = Reconciler(
            self.clock, self.listings, limits=self.limits, nudge=self.nudged.append
        )

    def released(self, _sandbox: Sandbox, freed: tuple[Allocation, ...]) -> None:
        for one in freed:
            self.fleet.release(one.host_id, one.resources, one.anti_affinity_group)

    async def add_host(self, name: str = "alpha", **machine: object) -> FakeDriver:
        """Take a fake machine into the fleet, with the golden image in its pool."""
        wanted = AddHost(name=name, transport="test", uri="test:///default", ratio_cpu=1.0)
        record = await self.services.hosts.add(wanted, Intent(actor=ME))
        fake = FakeHost(host_id=record.id, host_uuid=str(uuid4()), **machine)  # type: ignore[arg-type]
        fake.add_image(IMAGE, 1024, 8)
        driver = self.make_driver(fake, self.keyring, self.clock)
        self.drivers.by_host[record.id] = driver
        return driver

    async def add_seen_host(self, name: str = "alpha", **machine: object) -> FakeDriver:
        """Take a fake machine into the fleet and look at it, so that it takes sandboxes."""
        driver = await self.add_host(name, **machine)
        await self.look(name)
        return driver

    async def host(self, name: str = "alpha") -> HostResources:
        return await self.store.read(lambda tx: tx.hosts.by_name(name))

    async def look(self, name: str = "alpha") -> Look:
        """Look at a host once, as the poller does."""
        host = await self.host(name)
        self.clock.advance(0.01)
        look = await self.looker.look(host.id)
        self.fleet.put(look.host)
        return look

    async def reconcile(self, name: str = "alpha") -> list[str]:
        """Look at a host once and return which sandboxes have work for that."""
        self.nudged.clear()
        await self.reconciler.reconcile(await self.look(name))
        return list(self.nudged)

    async def create(self, **fields: object) -> Sandbox:
        return await self.services.sandboxes.create(wanted(**fields), Intent(actor=ME))

    async def created(
        self, state: SandboxState = SandboxState.RUNNING, **fields: object
    ) -> Sandbox:
        """Create a sandbox and bring it to where it rests."""
        sandbox = await self.create(**fields)
        await self.settle(sandbox.id)
        made = await self.sandbox(sandbox.id)
        assert made.state is state, (made.state, made.reason_message, made.conditions)
        return made

    async def sandbox(self, sandbox_id: str) -> Sandbox:
        return await self.store.read(lambda tx: tx.sandboxes.get(sandbox_id))

    async def allocations(self, sandbox_id: str) -> tuple[Allocation, ...]:
        return await self.store.read(lambda tx: tx.allocations.of_sandbox(sandbox_id))

    async def volumes(self, sandbox_id: str) -> tuple[Volume, ...]:
        return await self.store.read(lambda tx: tx.volumes.of_owner(sandbox_id))

    async def events(self, **wanted: Any) -> list[Event]:
        found = await self.store.read(lambda tx: tx.events.find(0, EventFilter(**wanted)))
        return list(found)

    async def change(self, sandbox_id: str, **changes: object) -> Sandbox:
        """Write into a record what a test needs there."""

        def write(tx: Transaction) -> Sandbox:
            sandbox = tx.sandboxes.get(sandbox_id)
            changed = replace(sandbox, **changes)  # type: ignore[arg-type]
            return tx.sandboxes.replace(changed, expected_generation=sandbox.generation)

        return await self.store.submit(write)

    async def settle(self, sandbox_id: str, *, turns: int = 300) -> float | None:
        """Work on a sandbox until it rests or waits for a poll; return None then.

        Time passes as long as each pause asks for.
        """
        for _ in range(turns):
            pause = await self.converger.converge(sandbox_id)
            if pause is None:
                return None
            self.clock.advance(pause)
        raise AssertionError(f"{sandbox_id} does not settle: {await self.sandbox(sandbox_id)}")

    def domain_of(self, sandbox: Sandbox) -> FakeDomain:
        """Return the sandbox's domain as the machine has it."""
        assert sandbox.host_id is not None
        driver = self.drivers.by_host[sandbox.host_id]
        assert isinstance(driver, FakeDriver)
        return driver.host.domains[sandbox.domain_uuid or ""]

    async def assert_ledger(self) -> None:
        """Counters equal rows; each live sandbox has one claim, where it is, nobody any (I2).

        Beside it there may be claims on hosts that it left and that are not proven empty yet.
        """
        assert await self.store.read(lambda tx: tx.allocations.audit()) == ()
        held = await self.store.read(lambda tx: tx.allocations.all())
        live = await self.store.read(lambda tx: tx.sandboxes.live())
        staying = {(one.sandbox_id, one.host_id) for one in held if one.state is not RELEASING}
        assert staying == {(one.id, one.host_id) for one in live}
        assert {one.sandbox_id for one in held} <= {one.id for one in live}

    def plane(self, **pace: object) -> ControlPlane:
        """Return all loops over this world."""
        return ControlPlane(
            store=self.store,
            clock=self.clock,
            drivers=self.drivers,
            fleet=self.fleet,
            journal=self.journal,
            pace=Pace(limits=self.limits, **pace),  # type: ignore[arg-type]
            shelf=self.shelf,
            guests=self.guests,
        )

    @asynccontextmanager
    async def running(self, **pace: object) -> AsyncIterator[ControlPlane]:
        """Run all loops until the block is left."""
        plane = self.plane(**pace)
        begun = asyncio.Event()
        self.bell.plane = plane
        loops = asyncio.create_task(plane.run(begun.set))
        try:
            await until(lambda: begun.is_set() or loops.done())
            yield plane
        finally:
            self.bell.plane = None
            plane.stop()
            await self.ended(loops)

    async def ended(self, task: asyncio.Task[None], *, seconds: float = DEADLINE_SECONDS) -> None:
        """Let time pass until a task has ended; raises what it raised."""
        async with asyncio.timeout(seconds):
            while not task.done():
                self.clock.advance(STEP_SECONDS)
                await self.breathe()
        await task

    async def breathe(self) -> None:
        """Let every other task take steps until none waits for the store any more."""
        for _ in range(3):
            await self.store.read(lambda tx: tx.settings.get("breath"))
            await self.store.submit(lambda tx: None)
            await at_rest(self.store)

    async def until(
        self, true: Callable[[], Awaitable[bool]], *, within: float = 120, what: str = ""
    ) -> None:
        """Let manual time pass, a little at a time, until the answer is yes."""
        for _ in range(int(within / STEP_SECONDS)):
            if await true():
                return
            await self.breathe()
            self.clock.advance(STEP_SECONDS)
        raise AssertionError(f"not within {within} s: {what or true}")

    async def until_state(
        self, sandbox_id: str, *states: SandboxState, within: float = 120
    ) -> None:
        """Let time pass until a sandbox is in one of these states."""

        async def reached() -> bool:
            return (await self.sandbox(sandbox_id)).state in states

        await self.until(reached, within=within, what=f"{sandbox_id} in {states}")


@asynccontextmanager
async def world(
    directory: Path,
    clock: ManualClock,
    *,
    make_driver: MakeDriver = FakeDriver,
    limits: Limits | None = None,
    guests: GuestConnections | None = None,
) -> AsyncIterator[World]:
    """Open a world over the store in this directory; opened again, it is the same cluster."""
    config = StoreConfig(database_url=sqlite_at(directory / DATABASE))
    terms = Terms(cluster_id=CLUSTER)
    async with (
        Store.open(config, clock=clock) as store,
        Journal.open(store, clock) as journal,
        Shelf.open(directory, store, terms) as shelf,
    ):
        fleet = FleetView(store, clock, policy=terms.policy, stale_after_seconds=60)
        await fleet.load()
        bell, ways = Bell(), guests or no_guests(directory, clock)
        services = Services.over(
            store,
            clock,
            terms=terms,
            fleet=fleet,
            journal=journal,
            wakes=Wakes(sandbox=bell.sandbox, host=bell.host, drain=bell.drain, image=bell.image),
            shelf=shelf,
            guests=ways,
        )
        yield World(
            store=store,
            clock=clock,
            journal=journal,
            fleet=fleet,
            keyring=Keyring.open(directory / "cluster.key", str(CLUSTER)),
            services=services,
            bell=bell,
            shelf=shelf,
            guests=ways,
            make_driver=make_driver,
            limits=limits or Limits(),
        )


def wanted(**fields: object) -> CreateSandbox:
    """Return a request for a small sandbox."""
    given = {"base_image": IMAGE, "agent_id": "agent-1", **SMALL, **fields}
    return CreateSandbox.model_validate(given)
