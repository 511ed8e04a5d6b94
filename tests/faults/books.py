"""What the database says, read beside the daemon in one snapshot."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TypeVar

from scheduler.model import (
    Allocation,
    DrainState,
    Event,
    HostResources,
    Sandbox,
    Snapshot,
    Volume,
)
from scheduler.service.lease_time import OFFSET_SETTING
from scheduler.store import (
    DrainFilter,
    EventPage,
    ListOptions,
    SandboxFilter,
    Store,
    StoreConfig,
    Transaction,
    Unit,
)

T = TypeVar("T")

PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Everything the database says that has a counterpart outside, or within itself."""

    sandboxes: tuple[Sandbox, ...]
    allocations: tuple[Allocation, ...]
    volumes: tuple[Volume, ...]
    snapshots: tuple[Snapshot, ...]
    """Of sandboxes that live."""
    hosts: tuple[HostResources, ...]
    events: tuple[Event, ...]
    drains: int
    miscounted: tuple[object, ...]

    @property
    def live(self) -> dict[str, Sandbox]:
        return {one.id: one for one in self.sandboxes if one.live}


def read_books(config: StoreConfig) -> Books:
    """Read the whole database."""
    return _read(config, _books)


def kept_offset(config: StoreConfig) -> str | None:
    """Return how far the recorded ends take the wall clock to be from boot time, in seconds."""
    return _read(config, lambda tx: tx.settings.get(OFFSET_SETTING))


def _read(config: StoreConfig, unit: Unit[T]) -> T:
    async def read() -> T:
        async with Store.open(config) as store:
            return await store.read(unit)

    return asyncio.run(read())


def _books(tx: Transaction) -> Books:
    sandboxes: list[Sandbox] = []
    everyone = SandboxFilter(include_deleted=True)
    while len(
        page := tx.sandboxes.find(everyone, ListOptions(limit=PAGE, offset=len(sandboxes))).items
    ):
        sandboxes += page
    events: list[Event] = []
    told = EventPage(events=(), through=0, full=True)
    while told.full:
        told = tx.events.page(told.through)
        events += told.events
    return Books(
        sandboxes=tuple(sandboxes),
        allocations=tx.allocations.all(),
        volumes=tx.volumes.all(),
        snapshots=tuple(
            snapshot
            for one in sandboxes
            if one.live
            for snapshot in tx.snapshots.of_sandbox(one.id)
        ),
        hosts=tx.hosts.all(),
        events=tuple(events),
        drains=len(tx.drains.find(DrainFilter(state=DrainState.ACTIVE), ListOptions()).items),
        miscounted=tx.allocations.audit(),
    )
