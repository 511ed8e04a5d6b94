"""The libvirt driver's verbs for snapshots and layers, a part of it in a file of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from scheduler.hosts import domains, snapshots, volumes
from scheduler.hosts.connection import Connection
from scheduler.hosts.deadlines import Verb
from scheduler.hosts.handles import Handle
from scheduler.hosts.marks import Keyring
from scheduler.hosts.plans import DomainPlan

T = TypeVar("T")


class SnapshotVerbs(Protocol):
    """What the driver inherits, and what of it these verbs use."""

    _keyring: Keyring
    _observing: Connection
    _mutating: Connection
    _snapping: Connection
    """Keeping a guest's memory takes long: one at a time, and no other change waits for it."""
    _merges: dict[str, int]

    async def _on_domain(
        self, verb: Verb, uuid: str, function: Callable[[Handle], None]
    ) -> None: ...

    async def _on_pool(
        self, verb: Verb, function: Callable[[Handle, str], T], *, subject: str | None = None
    ) -> T: ...

    async def refresh_pool(self) -> None: ...

    def _note_refresh(self) -> None: ...

    async def take_snapshot(self, uuid: str, name: str) -> bool:
        """Keep our domain's disk inside itself, with the guest's memory if it runs."""
        return await self._snapping.call(
            Verb.SNAPSHOT,
            lambda handle: snapshots.take(handle, uuid, self._keyring, name),
            subject=uuid,
        )

    async def revert_snapshot(self, uuid: str, name: str) -> None:
        """Bring our domain back to such a snapshot."""
        await self._snapping.call(
            Verb.SNAPSHOT,
            lambda handle: snapshots.revert(handle, uuid, self._keyring, name),
            subject=uuid,
        )

    async def delete_snapshot(self, uuid: str, name: str) -> None:
        """Remove such a snapshot and no other."""
        await self._snapping.call(
            Verb.SNAPSHOT,
            lambda handle: snapshots.delete(handle, uuid, self._keyring, name),
            subject=uuid,
        )

    async def live_layer(self, uuid: str) -> str | None:
        """Return the volume that our domain writes to; None when there is no domain."""
        return await self._observing.call(
            Verb.LOOK_UP, lambda handle: snapshots.live_layer(handle, uuid, self._keyring)
        )

    async def settled_layer(self, uuid: str) -> str | None:
        """Return the same once no job is on our domain; raises ObjectBusy while one is."""
        return await self._observing.call(
            Verb.SETTLE,
            lambda handle: snapshots.settled_layer(handle, uuid, self._keyring),
            subject=uuid,
        )

    async def create_layer(self, name: str, on: str) -> None:
        """Make an empty layer on one of our volumes."""
        await self._on_pool(
            Verb.CREATE_VOLUME, lambda handle, pool: volumes.create_layer(handle, pool, name, on)
        )

    async def freeze(self, uuid: str, layer: str) -> bool:
        """Freeze our domain's disk: what its guest writes goes to this new layer from now on."""
        quiet = await self._on_pool(
            Verb.FREEZE,
            lambda handle, pool: snapshots.freeze(handle, pool, uuid, self._keyring, layer),
            subject=uuid,
        )
        self._note_refresh()
        return quiet

    async def merge(self, uuid: str, lower: str, upper: str, *, runs: bool) -> bool:
        """Bring two layers of our domain's disk nearer to being one; return whether they are."""
        done = await self._mutating.call(
            Verb.MERGE,
            lambda handle: snapshots.merge(
                handle, uuid, self._keyring, (lower, upper), self._merges, runs=runs
            ),
            subject=uuid,
        )
        if done:
            await self.refresh_pool()
        return done

    async def flush(self, uuid: str) -> bool:
        """Have what our domain's disk holds in memory written down; its guest stands still."""
        return await self._mutating.call(
            Verb.FLUSH, lambda handle: snapshots.flush(handle, uuid, self._keyring), subject=uuid
        )

    async def restate(self, plan: DomainPlan) -> None:
        """Define our domain anew by this plan, even while it runs."""
        await self._on_domain(
            Verb.DEFINE, plan.uuid, lambda handle: domains.restate(handle, plan, self._keyring)
        )
