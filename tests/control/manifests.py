"""Manifests that guests in memory give, and what makes snapshots with them."""

from __future__ import annotations

from scheduler.control.effects import Effects
from scheduler.control.records import Records
from scheduler.control.snapshot_effects import SnapshotEffects
from scheduler.control.snapshot_records import SnapshotRecords
from scheduler.errors import HostUnreachable
from scheduler.model import HostResources, Sandbox, Snapshot
from scheduler.store import Store
from tests.clocks import ManualClock


class Manifests:
    """What the next manifest of each sandbox is; without one, its guest cannot be asked."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.next: dict[str, str] = {}
        self._store = store
        self._clock = clock

    async def take(self, sandbox: Sandbox, _host: HostResources, _snapshot: Snapshot) -> str:
        if sandbox.id not in self.next:
            raise HostUnreachable("the guest does not answer")
        return self.next[sandbox.id]

    def effects(
        self, records: Records, effects: Effects, concluded: list[tuple[str, str]]
    ) -> SnapshotEffects:
        """Return what makes snapshots, and notes how that ended."""
        written = SnapshotRecords(
            self._store,
            self._clock,
            changed=lambda *_: None,
            concluded=lambda *said: concluded.append(said),
        )
        return SnapshotEffects(records, written, effects, take_manifest=self.take)
