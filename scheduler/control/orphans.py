"""Domains with our mark that no live record stands for: condemned only by proof, else reported.

A report is an event, written once for as long as the thing is there; an operator decides. What is
condemned is removed by `leftovers`, so that a slow removal never holds up the next look.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial

import structlog

from scheduler.clock import Clock
from scheduler.control.leftovers import key_of
from scheduler.control.listings import Listings
from scheduler.control.looks import Look
from scheduler.errors import Invalid, NotFound, Unreadable
from scheduler.lifecycle.orphans import (
    VOLUME_PREFIX,
    Budget,
    DestroyOrphan,
    HoldDestroys,
    HostView,
    OrphanStep,
    Rationed,
    ReportOrphan,
    orphans,
    rationed,
)
from scheduler.lifecycle.restoration import left_behind
from scheduler.model import Event, HostResources, Inventory, SandboxState, Volume, VolumeRole
from scheduler.service.leftovers import ORPHAN_EVENT, condemn, tombstone, with_spent
from scheduler.store import Store, Transaction

_log = structlog.get_logger("scheduler.control")


class OrphanKeeper:
    """Looks after what is ours on a host and has no record."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        listings: Listings,
        *,
        remove: Callable[[str], None],
        pass_seconds: float,
    ) -> None:
        self._store = store
        self._clock = clock
        self._listings = listings
        self._remove = remove
        self._budget = Budget(pass_seconds=pass_seconds)
        self._reported: dict[str, set[str]] = {}

    async def keep(self, look: Look) -> int:
        """Deal with the orphans of one look; return how many are there."""
        inventory = look.inventory
        if inventory is None:
            return 0
        for owner in _condemned(look):
            self._remove(key_of(look.host.id, owner))
        found = await self._find(look, inventory)
        host_id = look.host.id
        told = self._reported.get(host_id, set())
        destroys = [step for step in found if isinstance(step, DestroyOrphan)]
        fresh = [step for step in destroys if _key(step) not in told]
        allowed, hold = await self._condemn(look.host, inventory, fresh)
        held = set(fresh).difference(allowed)
        for step in destroys:
            if step not in held:
                self._remove(key_of(host_id, step.sandbox_id))
        reports = [step for step in (*found, hold) if isinstance(step, ReportOrphan | HoldDestroys)]
        for report in reports:
            if _key(report) not in told:
                await self._report(host_id, report)
        # What is held is not dealt with: it is recorded before it is ever removed (I4).
        self._reported[host_id] = {_key(step) for step in (*destroys, *reports) if step not in held}
        return len(found)

    def forget(self, host_id: str) -> None:
        """Drop what was kept of a host that is no more."""
        self._reported.pop(host_id, None)

    async def _find(
        self, look: Look, inventory: Inventory
    ) -> tuple[DestroyOrphan | ReportOrphan, ...]:
        """Judge what was seen; whatever the records of the look do not explain is read again.

        A sandbox may have been built while the host was being listed, and is no orphan for that.
        """
        host_id = look.host.id
        live: dict[str, Collection[str]] = {sandbox_id: {host_id} for sandbox_id in _here(look)}
        listed = look.records.volume_names()
        marked = {d.mark.sandbox_id for d in inventory.domains if d.mark is not None}
        tombstones: Mapping[str, datetime] = {}
        if marked - live.keys():
            elsewhere, tombstones = await self._store.read(
                lambda tx: _known(tx, marked - live.keys(), host_id)
            )
            live.update(elsewhere)
        if inventory.pool is not None and any(
            v.name.startswith(VOLUME_PREFIX) and v.name not in listed
            for v in inventory.pool.volumes
        ):
            now_listed = await self._store.read(lambda tx: tx.volumes.of_host(host_id))
            listed |= {volume.name for volume in now_listed}
        view = HostView(
            inventory=inventory,
            previous=self._listings.previous(host_id),
            listed_volumes=listed,
            condemned=_condemned(look),
        )
        return orphans((view,), live=live, tombstones=tombstones, now=self._clock.now())

    async def _condemn(
        self, host: HostResources, inventory: Inventory, steps: Sequence[DestroyOrphan]
    ) -> Rationed:
        """Record that domains whose tombstones prove it should be gone are to be removed (I4)."""
        if not steps:
            return (), None
        return await self._store.submit(partial(self._record, host, inventory, steps))

    def _record(
        self,
        host: HostResources,
        inventory: Inventory,
        steps: Sequence[DestroyOrphan],
        tx: Transaction,
    ) -> Rationed:
        """Spend what is left of the budget by now: looks at other hosts spend of it too."""
        now = self._clock.now()
        allowed, hold = rationed(steps, with_spent(tx, self._budget), now)
        for step in allowed:
            sandbox = tombstone(tx, step.sandbox_id)
            if sandbox is not None:
                condemn(tx, sandbox, host, _left_volumes(host, inventory, step, now), at=now)
        return allowed, hold

    async def _report(self, host_id: str, step: ReportOrphan | HoldDestroys) -> None:
        if isinstance(step, ReportOrphan):
            sandbox_id, code = step.sandbox_id, step.reason_code
        else:
            sandbox_id, code = None, "held_by_budget"
        _log.warning("orphan", host=host_id, code=code, message=step.message)
        await self._tell(self._clock.now(), host_id, sandbox_id, code, step.message)

    async def _tell(
        self, at: datetime, host_id: str, sandbox_id: str | None, code: str, message: str
    ) -> None:
        event = Event(
            at=at,
            kind=ORPHAN_EVENT,
            host_id=host_id,
            sandbox_id=sandbox_id,
            reason_code=code,
            message=message,
        )
        await self._store.submit(lambda tx: tx.events.add(event))


def _condemned(look: Look) -> frozenset[str]:
    """Return the sandboxes of which volumes are listed here, and which do not live here."""
    owned = (v for v in look.records.volumes if v.role is not VolumeRole.IMAGE)
    return frozenset(v.owner for v in owned) - _here(look)


def _here(look: Look) -> frozenset[str]:
    """Return the sandboxes that live here, those included of which no more can be read."""
    records = look.records
    return frozenset(s.id for s in records.sandboxes if s.live) | records.unreadable.keys()


def _left_volumes(
    host: HostResources, inventory: Inventory, step: DestroyOrphan, now: datetime
) -> tuple[Volume, ...]:
    """Return the volumes that the domain's mark lists, none when it cannot be read."""
    (domain,) = (one for one in inventory.domains if one.uuid == step.domain_uuid)
    try:
        return left_behind(domain, host, now)
    except Invalid as error:
        _log.warning("volumes not listed", host=host.name, name=step.name, error=error.message)
        return ()


def _key(step: OrphanStep) -> str:
    if isinstance(step, HoldDestroys):
        return "hold"
    return f"{type(step).__name__}/{step.name}/{step.domain_uuid}"


def _known(
    tx: Transaction, sandbox_ids: set[str], host_id: str
) -> tuple[Mapping[str, set[str]], Mapping[str, datetime]]:
    """Return the hosts of each live sandbox, and when each destroyed one was buried.

    One that cannot be read may live where its domain is, for all that anybody can tell.
    """
    live: dict[str, set[str]] = {}
    tombstones: dict[str, datetime] = {}
    for sandbox_id in sandbox_ids:
        try:
            sandbox = tx.sandboxes.get(sandbox_id)
        except NotFound:
            continue
        except Unreadable:
            live[sandbox_id] = {host_id}
            continue
        if sandbox.state is SandboxState.DESTROYED:
            tombstones[sandbox_id] = sandbox.deleted_at or sandbox.updated_at
        else:
            live[sandbox_id] = {a.host_id for a in tx.allocations.of_sandbox(sandbox_id)}
    return live, tombstones
