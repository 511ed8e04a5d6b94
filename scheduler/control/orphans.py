"""Domains with our mark that no live record stands for: destroyed only by proof, else reported.

A report is an event, written once for as long as the thing is there; an operator decides.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime

import structlog

from scheduler.clock import Clock
from scheduler.control.listings import Listings
from scheduler.control.looks import Look
from scheduler.errors import HostError, NotFound
from scheduler.hosts.driver import HostDriver
from scheduler.lifecycle.orphans import (
    VOLUME_PREFIX,
    Budget,
    DestroyOrphan,
    HoldDestroys,
    HostView,
    OrphanStep,
    ReportOrphan,
    orphans,
)
from scheduler.model import Event, HostResources, Inventory, SandboxState
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
        drivers: Callable[[HostResources], HostDriver],
    ) -> None:
        self._store = store
        self._clock = clock
        self._listings = listings
        self._drivers = drivers
        self._budget = Budget()
        self._reported: dict[str, set[str]] = {}

    async def keep(self, look: Look) -> int:
        """Deal with the orphans of one look; return how many are there."""
        inventory = look.inventory
        if inventory is None:
            return 0
        steps = await self._steps(look, inventory)
        host_id = look.host.id
        told = self._reported.get(host_id, set())
        current = {_key(step) for step in steps}
        for step in steps:
            if isinstance(step, DestroyOrphan):
                await self._destroy(look.host, step, told=_key(step) in told)
            elif _key(step) not in told:
                await self._report(host_id, step)
        self._reported[host_id] = current
        return sum(1 for step in steps if not isinstance(step, HoldDestroys))

    def forget(self, host_id: str) -> None:
        """Drop what was kept of a host that is no more."""
        self._reported.pop(host_id, None)

    async def _steps(self, look: Look, inventory: Inventory) -> tuple[OrphanStep, ...]:
        """Judge what was seen; whatever the records of the look do not explain is read again.

        A sandbox may have been built while the host was being listed, and is no orphan for that.
        """
        host_id = look.host.id
        live: dict[str, Collection[str]] = {
            s.id: {host_id} for s in look.records.sandboxes if s.live
        }
        listed = look.records.volume_names()
        marked = {d.mark.sandbox_id for d in inventory.domains if d.mark is not None}
        tombstones: Mapping[str, datetime] = {}
        if marked - live.keys():
            elsewhere, tombstones = await self._store.read(
                lambda tx: _known(tx, marked - live.keys())
            )
            live.update(elsewhere)
        if inventory.pool is not None and any(
            v.name.startswith(VOLUME_PREFIX) and v.name not in listed
            for v in inventory.pool.volumes
        ):
            now_listed = await self._store.read(lambda tx: tx.volumes.of_host(host_id))
            listed |= {volume.name for volume in now_listed}
        view = HostView(
            inventory=inventory, previous=self._listings.previous(host_id), listed_volumes=listed
        )
        return orphans(
            (view,), live=live, tombstones=tombstones, now=self._clock.now(), budget=self._budget
        )

    async def _destroy(self, host: HostResources, step: DestroyOrphan, *, told: bool) -> None:
        """Destroy a domain whose tombstone proves that it should be gone (I4: told first).

        A host that will not is asked again after the next look: its orphan costs nobody else.
        """
        now = self._clock.now()
        self._budget = replace(self._budget, spent=(*self._budget.spent[-100:], now))
        if not told:
            await self._tell(
                now,
                step.host_id,
                step.sandbox_id,
                "reappeared",
                f"domain {step.name!r} of a destroyed sandbox is there again; destroying it",
            )
        try:
            await self._remove(host, step)
        except HostError as error:
            _log.warning("orphan stays", host=host.name, name=step.name, error=error.message)

    async def _remove(self, host: HostResources, step: DestroyOrphan) -> None:
        driver = self._drivers(host)
        domain = await driver.domain(step.domain_uuid)
        if domain is not None and domain.mark is not None:
            await driver.power_off(step.domain_uuid)
            await driver.undefine(step.domain_uuid)

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
            kind="host.orphan",
            host_id=host_id,
            sandbox_id=sandbox_id,
            reason_code=code,
            message=message,
        )
        await self._store.submit(lambda tx: tx.events.add(event))


def _key(step: OrphanStep) -> str:
    if isinstance(step, HoldDestroys):
        return "hold"
    return f"{type(step).__name__}/{step.name}/{step.domain_uuid}"


def _known(
    tx: Transaction, sandbox_ids: set[str]
) -> tuple[Mapping[str, set[str]], Mapping[str, datetime]]:
    """Return the hosts of each live sandbox, and when each destroyed one was buried."""
    live: dict[str, set[str]] = {}
    tombstones: dict[str, datetime] = {}
    for sandbox_id in sandbox_ids:
        try:
            sandbox = tx.sandboxes.get(sandbox_id)
        except NotFound:
            continue
        if sandbox.state is SandboxState.DESTROYED:
            tombstones[sandbox_id] = sandbox.deleted_at or sandbox.updated_at
        else:
            live[sandbox_id] = {a.host_id for a in tx.allocations.of_sandbox(sandbox_id)}
    return live, tombstones
