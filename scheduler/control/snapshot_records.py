"""What making, going back to and removing snapshots writes down, each in one transaction.

Every write compares the sandbox's generation first, so that its owner's newer wish is judged before
anything goes on. What is claimed always follows from what is listed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import wraps

from scheduler.clock import Clock
from scheduler.control.records import Changed
from scheduler.lifecycle import layers, outcomes
from scheduler.lifecycle.expiry import lease
from scheduler.lifecycle.layers import Merge
from scheduler.lifecycle.snapshots import reverted, storage_due
from scheduler.model import (
    Event,
    Sandbox,
    SandboxState,
    Snapshot,
    SnapshotKind,
    SnapshotState,
    Volume,
)
from scheduler.service.lease_time import lease_time
from scheduler.service.sandbox_records import put
from scheduler.store import Store, Transaction

Concluded = Callable[[str, str], None]
"""Told of what was done for a snapshot (`create`, `revert`, `delete`), and how it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a host did when a snapshot was made."""

    memory: bool = False
    quiesced: bool = False


class SnapshotRecords:
    """The converger's side of the store, for snapshots."""

    def __init__(
        self, store: Store, clock: Clock, *, changed: Changed, concluded: Concluded
    ) -> None:
        self._store = store
        self._clock = clock
        self._changed = changed
        self._concluded = concluded

    async def volumes(self, sandbox: Sandbox) -> tuple[Volume, ...]:
        """Read what is listed for a sandbox on its host."""
        return await self._store.read(lambda tx: tx.volumes.of_sandbox(sandbox))

    async def snapshots(self, sandbox: Sandbox) -> tuple[Snapshot, ...]:
        """Read every snapshot of a sandbox."""
        return await self._store.read(lambda tx: tx.snapshots.of_sandbox(sandbox.id))

    async def manifest_tried(
        self, snapshot: Snapshot, ref: str | None, why_not: str | None
    ) -> Snapshot:
        """Record which manifest belongs to a snapshot, or why none does; it is tried once."""

        def write(tx: Transaction) -> Snapshot:
            meta = None if why_not is None else f"no manifest: {why_not}"
            return tx.snapshots.replace(
                replace(snapshot, manifest_ref=ref, manifest_wanted=False, meta_json=meta)
            )

        return await self._store.submit(write)

    async def made(self, sandbox: Sandbox, snapshot: Snapshot, taken: Taken) -> None:
        """Record that a snapshot is there, and what the guest writes to since."""

        def write(tx: Transaction, now: datetime) -> Sandbox:
            volumes = tx.volumes.of_sandbox(sandbox)
            layer = layers.planned(volumes, on=snapshot.ref)
            if snapshot.kind is SnapshotKind.EXTERNAL and layer is not None:
                for volume in layers.put_live(volumes, layer.name):
                    tx.volumes.replace(volume)
            ready = replace(
                snapshot,
                state=SnapshotState.READY,
                reason=None,
                memory=taken.memory,
                quiesced=taken.quiesced,
                files=_files(snapshot, volumes),
                updated_at=now,
            )
            _stand_on(tx, ready)
            _tell(tx, ready, sandbox, "ready", f"snapshot {ready.name} is made")
            return put(tx, sandbox, outcomes.rested(sandbox, now=now))

        await self._write(sandbox, write)
        self._concluded("create", "done")

    async def gave_up(self, sandbox: Sandbox, snapshot: Snapshot, message: str) -> None:
        """Record that what was asked of a snapshot cannot be done.

        One that is being made is taken back first. A sandbox that could not be brought back is in
        ERROR: it is neither where it was nor where it was to be.
        """

        def write(tx: Transaction, now: datetime) -> Sandbox:
            state = _AFTER_FAILURE[snapshot.state]
            failed = replace(snapshot, state=state, reason=message, updated_at=now)
            tx.snapshots.replace(failed)
            verb = snapshot.state.value.lower()
            text = f"{verb} snapshot {snapshot.name} failed: {message}"
            if snapshot.state is SnapshotState.CREATING:
                _tell(tx, failed, sandbox, "failing", f"{text}; it is taken back")
                return put(tx, sandbox, outcomes.rested(sandbox, now=now))
            _tell(tx, failed, sandbox, "failed", text)
            _settle_claim(tx, sandbox)
            after = outcomes.rested(sandbox, now=now)
            if snapshot.state is SnapshotState.REVERTING:
                after = replace(
                    after,
                    state=SandboxState.ERROR,
                    reason_code="revert_failed",
                    reason_message=f"not brought back to snapshot {snapshot.name}: {message}",
                    ip_address=None,
                    ip_source=None,
                    ip_seen_at=None,
                    ip_gateway=None,
                )
                after = replace(after, expires_at=lease(after, now))
            return put(tx, sandbox, after)

        await self._write(sandbox, write)
        if snapshot.state is not SnapshotState.CREATING:
            self._concluded(_VERBS[snapshot.state], "failed")

    async def undone(self, sandbox: Sandbox, snapshot: Snapshot) -> None:
        """Record that nothing is left of a snapshot that could not be made."""

        def write(tx: Transaction, now: datetime) -> Sandbox:
            layer = layers.planned(tx.volumes.of_sandbox(sandbox), on=snapshot.ref)
            if snapshot.kind is SnapshotKind.EXTERNAL and layer is not None:
                tx.volumes.remove(layer.host_id, layer.pool, layer.name)
            failed = replace(snapshot, state=SnapshotState.FAILED, claim_mb=0, updated_at=now)
            tx.snapshots.replace(failed)
            _settle_claim(tx, sandbox)
            text = f"creating snapshot {snapshot.name} failed: {snapshot.reason}"
            _tell(tx, failed, sandbox, "failed", text)
            return put(tx, sandbox, outcomes.rested(sandbox, now=now))

        await self._write(sandbox, write)
        self._concluded("create", "failed")

    async def aligned(self, sandbox: Sandbox, live: str) -> Sandbox:
        """Record which layer takes the guest's writes, as its domain says."""

        def write(tx: Transaction, now: datetime) -> Sandbox:
            for volume in layers.put_live(tx.volumes.of_sandbox(sandbox), live):
                tx.volumes.replace(volume)
            return put(tx, sandbox, replace(sandbox, updated_at=now))

        return await self._write(sandbox, write)

    async def struck(self, sandbox: Sandbox, name: str) -> Sandbox:
        """Strike a layer off that is proven gone, and give its claim back."""

        def write(tx: Transaction, now: datetime) -> Sandbox:
            for volume in tx.volumes.of_sandbox(sandbox):
                if volume.name == name:
                    tx.volumes.remove(volume.host_id, volume.pool, volume.name)
            _settle_claim(tx, sandbox)
            return put(tx, sandbox, replace(sandbox, updated_at=now))

        return await self._write(sandbox, write)

    async def merged(self, sandbox: Sandbox, action: Merge) -> Sandbox:
        """Record what lies on what, and which point is read from where, after a merge."""

        def write(tx: Transaction, now: datetime) -> Sandbox:
            volumes = tx.volumes.of_sandbox(sandbox)
            for volume in layers.merged(volumes, action):
                tx.volumes.replace(volume)
            for snapshot in layers.renamed(tx.snapshots.of_sandbox(sandbox.id), action):
                tx.snapshots.replace(snapshot)
            _refile(tx, sandbox)
            return put(tx, sandbox, outcomes.done(sandbox, now=now))

        return await self._write(sandbox, write)

    async def removed(self, sandbox: Sandbox, snapshot: Snapshot) -> None:
        """Strike a snapshot off; those made after it hang on the one before it."""

        def write(tx: Transaction, now: datetime) -> Sandbox:
            tx.snapshots.remove(snapshot.id)
            for other in tx.snapshots.of_sandbox(sandbox.id):
                if other.parent == snapshot.id:
                    tx.snapshots.replace(replace(other, parent=snapshot.parent))
                elif snapshot.current and other.id == snapshot.parent:
                    tx.snapshots.replace(replace(other, current=True))
            _settle_claim(tx, sandbox)
            text = f"snapshot {snapshot.name} is removed"
            _tell(tx, snapshot, sandbox, "deleted", text)
            return put(tx, sandbox, outcomes.rested(sandbox, now=now))

        await self._write(sandbox, write)
        self._concluded("delete", "done")

    async def reverted(self, sandbox: Sandbox, snapshot: Snapshot) -> None:
        """Record that a sandbox was brought back, and is coming up from there."""

        def write(tx: Transaction, now: datetime) -> Sandbox:
            ready = replace(snapshot, state=SnapshotState.READY, reason=None, updated_at=now)
            _stand_on(tx, ready)
            _settle_claim(tx, sandbox)
            text = f"brought back to snapshot {snapshot.name}"
            _tell(tx, ready, sandbox, "reverted", text)
            back = reverted(sandbox, snapshot, now)
            return put(tx, sandbox, replace(back, expires_at=lease(back, now)))

        self._changed(sandbox, await self._write(sandbox, write))
        self._concluded("revert", "done")

    async def _write(
        self, sandbox: Sandbox, change: Callable[[Transaction, datetime], Sandbox]
    ) -> Sandbox:
        @wraps(change)
        def write(tx: Transaction) -> Sandbox:
            return change(tx, lease_time(tx, self._clock))

        return await self._store.submit(write)


_AFTER_FAILURE = {
    SnapshotState.CREATING: SnapshotState.CREATING,
    SnapshotState.REVERTING: SnapshotState.READY,
    SnapshotState.DELETING: SnapshotState.FAILED,
}
_VERBS = {SnapshotState.REVERTING: "revert", SnapshotState.DELETING: "delete"}


def _files(snapshot: Snapshot, volumes: tuple[Volume, ...]) -> tuple[str, ...]:
    live = layers.live(volumes)
    if snapshot.kind is SnapshotKind.EXTERNAL or live is None:
        return layers.chain(volumes, snapshot.ref)
    return (live.name,)


def _stand_on(tx: Transaction, snapshot: Snapshot) -> None:
    """Write a snapshot as the one that its sandbox stands on, alone."""
    for other in tx.snapshots.of_sandbox(snapshot.sandbox_id):
        if other.current and other.id != snapshot.id:
            tx.snapshots.replace(replace(other, current=False))
    tx.snapshots.replace(replace(snapshot, current=True))


def _refile(tx: Transaction, sandbox: Sandbox) -> None:
    """Write anew which files each frozen point is read from."""
    volumes = tx.volumes.of_sandbox(sandbox)
    for snapshot in tx.snapshots.of_sandbox(sandbox.id):
        files = layers.chain(volumes, snapshot.ref)
        if snapshot.kind is SnapshotKind.EXTERNAL and snapshot.files not in ((), files):
            tx.snapshots.replace(replace(snapshot, files=files))


def _settle_claim(tx: Transaction, sandbox: Sandbox) -> None:
    """Have the sandbox's claim follow from what is listed for it."""
    due = storage_due(sandbox, tx.snapshots.of_sandbox(sandbox.id), tx.volumes.of_sandbox(sandbox))
    tx.allocations.resize(sandbox.id, sandbox.host_id or "", due, beyond_limits=True)


def _tell(tx: Transaction, snapshot: Snapshot, sandbox: Sandbox, code: str, message: str) -> None:
    now = snapshot.updated_at or snapshot.created_at
    tx.events.add(
        Event(
            at=now,
            kind=f"snapshot.{code}",
            sandbox_id=sandbox.id,
            host_id=sandbox.host_id,
            reason_code=code,
            message=message,
            evidence={
                "snapshot_id": snapshot.id,
                "name": snapshot.name,
                "kind": snapshot.kind.value,
                "state": snapshot.state.value,
            },
        )
    )
