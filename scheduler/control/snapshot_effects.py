"""What a step for a snapshot does on a host: each part asks what is there before it acts.

A manifest of the guest is taken just before the disk is frozen, while the guest can still be asked:
what changes in between is part of the snapshot and shows in the next manifest, never in none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

import structlog

from scheduler.control.effects import Effects
from scheduler.control.records import Records
from scheduler.control.snapshot_records import SnapshotRecords, Taken
from scheduler.errors import HostRefused, SandboxdError
from scheduler.hosts import ObjectBusy
from scheduler.hosts.driver import HostDriver
from scheduler.lifecycle import layers
from scheduler.lifecycle.layers import Merge, Remove
from scheduler.lifecycle.steps import Discard, Freeze, GiveUp, Revert
from scheduler.model import (
    DomainState,
    HostResources,
    Phase,
    Sandbox,
    SandboxState,
    Snapshot,
    SnapshotKind,
    SnapshotState,
    StateReason,
    Volume,
)

SnapshotStep = Freeze | Revert | Discard | GiveUp
SNAPSHOT_STEPS = (Freeze, Revert, Discard, GiveUp)
LOOK_AGAIN_SECONDS = 1.0
BUSY_AGAIN_SECONDS = 5.0
_AT_ONCE = 0.0

_log = structlog.get_logger()

TakeManifest = Callable[[Sandbox, HostResources, Snapshot], Awaitable[str]]
"""Takes the manifest of a running guest, bounded in time, and returns what it is kept under."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One snapshot on one host."""

    snapshot: Snapshot
    sandbox: Sandbox
    host: HostResources
    driver: HostDriver

    @property
    def uuid(self) -> str:
        """Return the UUID of the sandbox's domain."""
        return self.sandbox.domain_uuid or ""


_Carry = Callable[[Task, SnapshotStep], Awaitable[float]]


class SnapshotEffects:
    """Carries out one step for one snapshot; returns how long to wait before the next look."""

    def __init__(
        self,
        records: Records,
        snapshots: SnapshotRecords,
        effects: Effects,
        *,
        take_manifest: TakeManifest | None = None,
    ) -> None:
        self._records = records
        self._snapshots = snapshots
        self._effects = effects
        self._take_manifest = take_manifest
        self._carriers: Mapping[type[SnapshotStep], _Carry] = {
            Freeze: self._freeze,
            Revert: self._revert,
            Discard: self._discard,
            GiveUp: self._give_up,
        }

    async def carry(self, step: SnapshotStep, task: Task) -> float:
        """Take the step; a host's refusal is recorded and judged, not raised.

        One that is only busy refuses nothing, and is asked again for as long as it takes.
        """
        try:
            return await self._carriers[type(step)](task, step)
        except ObjectBusy:
            return BUSY_AGAIN_SECONDS
        except HostRefused as error:
            making = isinstance(step, Freeze)
            if making:
                sandbox = await self._records.again(task.sandbox)
                await self._snapshots.gave_up(sandbox, task.snapshot, error.message)
            else:
                await self._records.refused(task.sandbox.id, error)
            return _AT_ONCE

    async def _freeze(self, task: Task, _step: SnapshotStep) -> float:
        sandbox = await self._records.begin(task.sandbox, Phase.SNAPSHOT)
        snapshot = await self._with_manifest(task, sandbox)
        await task.driver.ensure_pool()
        if snapshot.kind is SnapshotKind.INTERNAL:
            memory = await task.driver.take_snapshot(task.uuid, snapshot.ref)
            await self._snapshots.made(sandbox, snapshot, Taken(memory=memory))
            return _AT_ONCE
        volumes = await self._snapshots.volumes(sandbox)
        layer = layers.planned(volumes, on=snapshot.ref)
        if layer is None:
            raise HostRefused(f"no new layer is listed for snapshot {snapshot.name}")
        quiesced = await task.driver.freeze(task.uuid, layer.name)
        await self._restate(task, sandbox, volumes, layers.put_live(volumes, layer.name))
        await self._snapshots.made(sandbox, snapshot, Taken(quiesced=quiesced))
        return _AT_ONCE

    async def _with_manifest(self, task: Task, sandbox: Sandbox) -> Snapshot:
        """Take the guest's manifest if one is wanted and was not tried; none is no failure."""
        snapshot = task.snapshot
        if not snapshot.manifest_wanted:
            return snapshot
        if sandbox.state is not SandboxState.RUNNING:
            return await self._snapshots.manifest_tried(snapshot, None, "the guest does not run")
        if self._take_manifest is None:
            return await self._snapshots.manifest_tried(snapshot, None, "nothing here takes any")
        try:
            ref = await self._take_manifest(sandbox, task.host, snapshot)
        except SandboxdError as error:
            return await self._snapshots.manifest_tried(snapshot, None, error.message)
        return await self._snapshots.manifest_tried(snapshot, ref, None)

    async def _revert(self, task: Task, _step: SnapshotStep) -> float:
        sandbox = await self._records.begin(task.sandbox, Phase.REVERT)
        await task.driver.ensure_pool()
        if task.snapshot.kind is SnapshotKind.INTERNAL:
            await task.driver.revert_snapshot(task.uuid, task.snapshot.ref)
            await self._snapshots.reverted(sandbox, task.snapshot)
            return _AT_ONCE
        await task.driver.power_off(task.uuid)
        sandbox = await self._put_on(task, sandbox)
        while isinstance(action := await self._next(sandbox, merge=False), Remove):
            sandbox = await self._remove(task, sandbox, action.name)
        await self._snapshots.reverted(sandbox, task.snapshot)
        return _AT_ONCE

    async def _put_on(self, task: Task, sandbox: Sandbox) -> Sandbox:
        """Have the domain, which is off, write to a new layer on the frozen point."""
        volumes = await self._snapshots.volumes(sandbox)
        layer = layers.planned(volumes, on=task.snapshot.ref) or layers.live(volumes)
        if layer is None or layer.backing != task.snapshot.ref:
            raise HostRefused(f"no new layer is listed on snapshot {task.snapshot.name}")
        await task.driver.create_layer(layer.name, task.snapshot.ref)
        await self._restate(task, sandbox, volumes, layers.put_live(volumes, layer.name))
        return await self._snapshots.aligned(sandbox, layer.name)

    async def _discard(self, task: Task, _step: SnapshotStep) -> float:
        sandbox = await self._records.begin(task.sandbox, Phase.SNAPSHOT)
        await task.driver.ensure_pool()
        if task.snapshot.state is SnapshotState.CREATING:
            return await self._undo(task, sandbox)
        if task.snapshot.kind is SnapshotKind.INTERNAL:
            await task.driver.delete_snapshot(task.uuid, task.snapshot.ref)
        else:
            action = await self._next(sandbox)
            if isinstance(action, Remove):
                await self._remove(task, sandbox, action.name)
                return _AT_ONCE
            if action is not None:
                return await self._merge(task, sandbox, action)
            await self._put_to_rest(task, sandbox)
        await self._snapshots.removed(sandbox, task.snapshot)
        return _AT_ONCE

    async def _undo(self, task: Task, sandbox: Sandbox) -> float:
        """Take back what was begun; what turns out to be done is kept."""
        if task.snapshot.kind is SnapshotKind.INTERNAL:
            await task.driver.delete_snapshot(task.uuid, task.snapshot.ref)
            await self._snapshots.undone(sandbox, task.snapshot)
            return _AT_ONCE
        volumes = await self._snapshots.volumes(sandbox)
        layer = layers.planned(volumes, on=task.snapshot.ref)
        if layer is not None:
            if await task.driver.settled_layer(task.uuid) == layer.name:
                # It is kept only once the definition says so too: the next start goes by that.
                await self._restate(task, sandbox, volumes, layers.put_live(volumes, layer.name))
                await self._snapshots.made(sandbox, task.snapshot, Taken())
                return _AT_ONCE
            await self._delete(task, layer.name)
        await self._snapshots.undone(sandbox, task.snapshot)
        return _AT_ONCE

    async def _merge(self, task: Task, sandbox: Sandbox, action: Merge) -> float:
        runs = sandbox.state is SandboxState.RUNNING
        if not await task.driver.merge(task.uuid, action.lower, action.upper, runs=runs):
            return LOOK_AGAIN_SECONDS
        if action.pulls and not await self._write_down(task, sandbox):
            return BUSY_AGAIN_SECONDS
        volumes = await self._snapshots.volumes(sandbox)
        await self._restate(task, sandbox, volumes, layers.merged(volumes, action))
        await self._snapshots.merged(sandbox, action)
        return _AT_ONCE

    async def _write_down(self, task: Task, sandbox: Sandbox) -> bool:
        """See that what the live layer took up is on its host's disk; return whether it is.

        Only then nothing needs the layer below, be it after a loss of power.
        """
        if await task.driver.flush(task.uuid):
            return True
        if sandbox.state is SandboxState.RUNNING:
            _log.info("snapshot.waits_for_paused_guest", sandbox_id=sandbox.id)
            return False
        await self._put_to_rest(task, sandbox)
        return True

    async def _give_up(self, task: Task, step: SnapshotStep) -> float:
        assert isinstance(step, GiveUp)
        sandbox, snapshot = task.sandbox, task.snapshot
        layered = snapshot.kind is SnapshotKind.EXTERNAL
        if layered and snapshot.state is not SnapshotState.CREATING:
            await self._put_to_rest(task, sandbox)
            live = await task.driver.live_layer(task.uuid) or ""
            if live in layers.disks(await self._snapshots.volumes(sandbox)):
                sandbox = await self._snapshots.aligned(sandbox, live)
            sandbox = await self._drop_planned(task, sandbox)
        await self._snapshots.gave_up(sandbox, snapshot, step.message)
        return _AT_ONCE

    async def _drop_planned(self, task: Task, sandbox: Sandbox) -> Sandbox:
        """Remove the layer that a revert in vain was to put live.

        A host that refuses that as well keeps it, and it stays listed and claimed: the next
        deletion removes what no snapshot needs.
        """
        volumes = await self._snapshots.volumes(sandbox)
        layer = layers.planned(volumes, on=task.snapshot.ref)
        if layer is None:
            return sandbox
        try:
            return await self._remove(task, sandbox, layer.name)
        except HostRefused as error:
            _log.warning("snapshot.layer_left", layer=layer.name, why=error.message)
            return sandbox

    async def _put_to_rest(self, task: Task, sandbox: Sandbox) -> None:
        """End a domain that only merging has started: its guest has run nothing yet."""
        if sandbox.state is SandboxState.RUNNING:
            return
        domain = await task.driver.domain(task.uuid)
        if domain is None or domain.state is not DomainState.PAUSED:
            return
        if domain.reason is StateReason.USER:
            await task.driver.power_off(task.uuid)

    async def _restate(
        self,
        task: Task,
        sandbox: Sandbox,
        volumes: Collection[Volume],
        changed: Collection[Volume],
    ) -> None:
        """State the domain over its volumes as they are after a change, in its mark as well."""
        anew = {one.name: one for one in changed}
        stated = tuple(anew.get(one.name, one) for one in volumes)
        await task.driver.restate(await self._effects.plan(sandbox, task.host, stated))

    async def _next(self, sandbox: Sandbox, *, merge: bool = True) -> Remove | Merge | None:
        volumes = await self._snapshots.volumes(sandbox)
        staying = [
            one
            for one in await self._snapshots.snapshots(sandbox)
            if one.state not in (SnapshotState.DELETING, SnapshotState.FAILED)
        ]
        return layers.next_action(volumes, staying, merge=merge)

    async def _remove(self, task: Task, sandbox: Sandbox, name: str) -> Sandbox:
        await self._delete(task, name)
        return await self._snapshots.struck(sandbox, name)

    async def _delete(self, task: Task, name: str) -> None:
        if await task.driver.settled_layer(task.uuid) == name:
            raise HostRefused(
                f"the domain of {task.sandbox.id} writes to {name}, which is to be removed",
                remedy="somebody changed its definition; look at it on its host",
            )
        await task.driver.delete_volume(name)
        if not await task.driver.volumes_absent([name]):
            raise HostRefused(
                f"host {task.host.name} still holds the layer {name} after its removal",
                remedy="it is tried again; see the host's libvirt log if this stays",
            )
