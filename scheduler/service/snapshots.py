"""Snapshots: make, show, go back to, delete. The row is the intent; the converging loop does it.

What a snapshot may come to take is claimed in the transaction that records the wish for it, and
what a host will be given is listed there, before anything happens on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import NoReturn

from scheduler import ids
from scheduler.clock import Clock
from scheduler.errors import AlreadyExists, CapacityExhausted, Conflict, NotFound, QuotaExceeded
from scheduler.lifecycle import layers
from scheduler.lifecycle.snapshots import (
    check_able,
    claim_of,
    holds_something,
    may_begin,
    storage_due,
    under_way,
)
from scheduler.model import (
    Event,
    Sandbox,
    SandboxState,
    Snapshot,
    SnapshotKind,
    SnapshotState,
    Volume,
    VolumeRole,
)
from scheduler.service.fleet import FleetView
from scheduler.service.intents import Intent
from scheduler.service.journal import Journal
from scheduler.service.requests import CreateSnapshot
from scheduler.service.sandboxes import by_reference
from scheduler.service.terms import Terms
from scheduler.store import ListOptions, Page, Store, Transaction, Unit


class SnapshotService:
    """What owners do with snapshots; `wake` tells the converging loop of the sandbox."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        terms: Terms,
        fleet: FleetView,
        journal: Journal,
        wake: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._terms = terms
        self._fleet = fleet
        self._journal = journal
        self._wake = wake

    async def find(self, reference: str, options: ListOptions) -> Page[Snapshot]:
        """Return a page of a sandbox's snapshots."""
        return await self._store.read(
            lambda tx: tx.snapshots.find(by_reference(reference, tx).id, options)
        )

    async def get(self, reference: str, name: str) -> Snapshot:
        """Return a sandbox's snapshot by its name; raises `NotFound`."""
        return await self._store.read(
            lambda tx: tx.snapshots.by_name(by_reference(reference, tx).id, name)
        )

    async def create(
        self, reference: str, request: CreateSnapshot, intent: Intent[Snapshot]
    ) -> Snapshot:
        """Claim room for a snapshot, record it and have it made.

        Raises `Conflict` unless the sandbox rests and its other snapshots are of the same kind,
        `AlreadyExists`, `QuotaExceeded`, `CapacityExhausted` with the host's numbers, and
        `ConstraintImpossible` when its host can never make one.
        """
        unit = partial(self._create, reference, request, intent.actor)
        return await self._committed(await self._store.submit(intent.once(unit)))

    async def revert(self, reference: str, name: str, intent: Intent[Snapshot]) -> Snapshot:
        """Have a sandbox brought back to a snapshot: what it wrote since then is lost."""
        unit = partial(self._revert, reference, name, intent.actor)
        return await self._committed(await self._store.submit(intent.once(unit)))

    async def remove(self, reference: str, name: str, intent: Intent[Snapshot]) -> Snapshot:
        """Have a snapshot deleted; what others are read from stays."""
        unit = partial(self._remove, reference, name, intent.actor)
        return await self._committed(await self._store.submit(intent.once(unit)))

    async def preview(self, act: str, reference: str, what: str | CreateSnapshot) -> Snapshot:
        """Return what an act would answer, changing nothing; refuses as it would."""
        unit: Unit[Snapshot]
        if isinstance(what, CreateSnapshot):
            unit = partial(self._create, reference, what, "")
        else:
            unit = partial(self._revert if act == "revert" else self._remove, reference, what, "")

        def preview(tx: Transaction) -> NoReturn:
            raise _TakenBack(unit(tx))

        try:
            await self._store.submit(preview)
        except _TakenBack as back:
            return back.snapshot

    async def wait(self, snapshot_id: str, seconds: float) -> Snapshot | None:
        """Return a snapshot once it rests or `seconds` are over; None when it is gone."""
        try:
            return await self._journal.until(
                lambda: self._store.read(lambda tx: tx.snapshots.get(snapshot_id)),
                lambda snapshot: not snapshot.unfinished,
                seconds,
            )
        except NotFound:
            return None

    async def _committed(self, snapshot: Snapshot) -> Snapshot:
        self._journal.poke()
        self._wake(snapshot.sandbox_id)
        sandbox = await self._store.read(lambda tx: tx.sandboxes.get(snapshot.sandbox_id))
        await self._fleet.reread(sandbox.host_id or "")
        return snapshot

    def _create(
        self, reference: str, request: CreateSnapshot, actor: str, tx: Transaction
    ) -> Snapshot:
        now = self._clock.now()
        sandbox = by_reference(reference, tx)
        others = tx.snapshots.of_sandbox(sandbox.id)
        _check_rest(sandbox, others, "made", failed_too=False)
        self._check_new(request, others)
        check_able(tx.hosts.get(sandbox.host_id or ""), request.kind)
        volumes = tx.volumes.of_sandbox(sandbox)
        snapshot = self._snapshot(sandbox, request, others, volumes, now)
        if request.kind is SnapshotKind.EXTERNAL:
            layer = _layer(sandbox, volumes, on=snapshot.ref, now=now)
            volumes = (*volumes, layer)
        _claim(tx, sandbox, (*others, snapshot), volumes, self._terms.retry_after_seconds)
        if request.kind is SnapshotKind.EXTERNAL:
            tx.volumes.add(layer)
        tx.snapshots.add(snapshot)
        _tell(tx, snapshot, sandbox, actor, "snapshot.requested")
        return snapshot

    def _check_new(self, request: CreateSnapshot, others: Collection[Snapshot]) -> None:
        if any(one.name == request.name for one in others):
            raise AlreadyExists(
                f"there is a snapshot {request.name} of this sandbox already",
                remedy="choose another name, or delete that one first",
            )
        kinds = {one.kind for one in others if holds_something(one)}
        if kinds - {request.kind}:
            raise Conflict(
                f"this sandbox has {kinds.pop()} snapshots, and one of another kind breaks them",
                remedy="ask for the same kind, or delete the others first",
            )
        most = self._terms.max_snapshots_per_sandbox
        if len(others) >= most:
            raise QuotaExceeded(
                f"this sandbox has as many snapshots as it may have: {most}",
                remedy="delete one, or have the limit raised in the configuration",
                details={"limit": most},
            )

    def _snapshot(
        self,
        sandbox: Sandbox,
        request: CreateSnapshot,
        others: Collection[Snapshot],
        volumes: Collection[Volume],
        now: datetime,
    ) -> Snapshot:
        id = ids.new_id(ids.Prefix.SNAPSHOT)
        live = layers.live(volumes)
        if live is None:
            raise Conflict(
                f"sandbox {sandbox.id} has no disk that could be frozen",
                remedy="wait until it is built",
            )
        runs = sandbox.state is SandboxState.RUNNING
        memory = runs and request.kind is SnapshotKind.INTERNAL
        asked = request.manifest
        return Snapshot(
            id=id,
            sandbox_id=sandbox.id,
            name=request.name,
            kind=request.kind,
            ref=id.lower() if request.kind is SnapshotKind.INTERNAL else live.name,
            created_at=now,
            state=SnapshotState.CREATING,
            parent=next((one.id for one in others if one.current), None),
            memory=memory,
            claim_mb=claim_of(sandbox, request.kind, memory=memory),
            manifest_wanted=(runs and self._terms.takes_manifests) if asked is None else asked,
            updated_at=now,
        )

    def _revert(self, reference: str, name: str, actor: str, tx: Transaction) -> Snapshot:
        now = self._clock.now()
        sandbox = by_reference(reference, tx)
        snapshot = tx.snapshots.by_name(sandbox.id, name)
        if snapshot.state is SnapshotState.REVERTING:
            return snapshot
        _check_rest(sandbox, tx.snapshots.of_sandbox(sandbox.id), "reverted to", failed_too=True)
        if snapshot.state is not SnapshotState.READY:
            raise Conflict(
                f"snapshot {name} is {snapshot.state}: {snapshot.reason}",
                remedy="delete it; only one that is READY can be reverted to",
                details={"state": snapshot.state.value},
            )
        if snapshot.kind is SnapshotKind.EXTERNAL:
            volumes = tx.volumes.of_sandbox(sandbox)
            tx.volumes.add(_layer(sandbox, volumes, on=snapshot.ref, now=now))
        wished = replace(
            snapshot, state=SnapshotState.REVERTING, reason=None, updated_at=self._clock.now()
        )
        tx.snapshots.replace(wished)
        _tell(tx, wished, sandbox, actor, "snapshot.revert_requested")
        return wished

    def _remove(self, reference: str, name: str, actor: str, tx: Transaction) -> Snapshot:
        sandbox = by_reference(reference, tx)
        snapshot = tx.snapshots.by_name(sandbox.id, name)
        if snapshot.state is SnapshotState.DELETING:
            return snapshot
        _check_rest(sandbox, tx.snapshots.of_sandbox(sandbox.id), "deleted", failed_too=True)
        wished = replace(
            snapshot, state=SnapshotState.DELETING, reason=None, updated_at=self._clock.now()
        )
        tx.snapshots.replace(wished)
        _tell(tx, wished, sandbox, actor, "snapshot.delete_requested")
        return wished


class _TakenBack(Exception):
    """Ends a unit of work without a trace, and carries out what it would have answered."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__("taken back")
        self.snapshot = snapshot


def _check_rest(
    sandbox: Sandbox, snapshots: Collection[Snapshot], verb: str, *, failed_too: bool
) -> None:
    """Raise `Conflict` unless a sandbox rests and nothing is under way for its snapshots."""
    busy = under_way(snapshots)
    if busy is not None:
        raise Conflict(
            f"snapshot {busy.name} is {busy.state}, and one thing happens at a time",
            remedy=f"wait for it: sandboxctl snapshot show {sandbox.id} {busy.name}",
            details={"snapshot": busy.name, "state": busy.state.value},
        )
    if not may_begin(sandbox, failed_too=failed_too):
        moving = "" if sandbox.move_asked_at is None else ", and to move"
        raise Conflict(
            f"sandbox {sandbox.id} is {sandbox.state}, to be {sandbox.desired_state}{moving}: no "
            f"snapshot is {verb} now",
            remedy="wait until it is RUNNING or STOPPED, and not being moved",
            details={
                "state": sandbox.state.value,
                "desired_state": sandbox.desired_state.value,
            },
        )


def _layer(sandbox: Sandbox, volumes: Collection[Volume], *, on: str, now: datetime) -> Volume:
    below = layers.disks(volumes)[on]
    return Volume(
        owner=sandbox.id,
        host_id=below.host_id,
        pool=below.pool,
        name=layers.new_name(sandbox.id, volumes),
        role=VolumeRole.LAYER,
        created_at=now,
        backing=on,
    )


def _claim(
    tx: Transaction,
    sandbox: Sandbox,
    snapshots: Collection[Snapshot],
    volumes: Collection[Volume],
    retry_after_seconds: int,
) -> None:
    host_id = sandbox.host_id or ""
    due = storage_due(sandbox, snapshots, volumes)
    try:
        tx.allocations.resize(sandbox.id, host_id, due)
    except Conflict as error:
        host = tx.hosts.get(host_id)
        have, need = error.details.get("have"), error.details.get("need")
        raise CapacityExhausted(
            f"host {host.name} has {have} MiB of storage left, and the snapshot may take {need}",
            remedy="delete snapshots or sandboxes there, or give its pool more room",
            details={**error.details, "retry_after": retry_after_seconds},
        ) from error


def _tell(tx: Transaction, snapshot: Snapshot, sandbox: Sandbox, actor: str, kind: str) -> None:
    tx.events.add(
        Event(
            at=snapshot.updated_at or snapshot.created_at,
            kind=kind,
            actor=actor,
            sandbox_id=sandbox.id,
            host_id=sandbox.host_id,
            reason_code="requested",
            message=f"snapshot {snapshot.name} ({snapshot.kind}) is {snapshot.state}",
            evidence={
                "snapshot_id": snapshot.id,
                "name": snapshot.name,
                "claim_mb": snapshot.claim_mb,
            },
        )
    )
