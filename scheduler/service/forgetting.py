"""Forgetting: an operator lets go of a sandbox of which nobody can prove that it is gone (I3).

It is for hosts that never come back. The tombstone stays: should the domain be seen again, it is
the remains of a destroyed sandbox and is removed as such. What other hosts may still hold is proven
gone all the same: a sandbox whose own host is forgotten ends on one that it had left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from scheduler.clock import Clock
from scheduler.errors import Conflict
from scheduler.lifecycle.alternates import sent_back
from scheduler.model import (
    Allocation,
    Ending,
    Event,
    HostHealth,
    HostResources,
    Sandbox,
    Snapshot,
    Volume,
)
from scheduler.service.fleet import FleetView
from scheduler.service.intents import Intent
from scheduler.service.journal import Journal
from scheduler.service.requests import ForgetSandbox
from scheduler.service.sandboxes import by_reference
from scheduler.store import Store, Transaction

_SILENT = frozenset({HostHealth.DOWN, HostHealth.UNKNOWN})
"""A host that is merely suspect may answer in a moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgetting:
    """What forgetting lets go of, and so what may be left behind."""

    sandbox: Sandbox
    allocations: tuple[Allocation, ...]
    volumes: tuple[Volume, ...]
    snapshots: tuple[Snapshot, ...]
    """They are where the sandbox is, in volumes of those above."""
    hosts: tuple[str, ...]
    """The names of the hosts on which something may be left."""
    blockers: tuple[str, ...]
    """Why it is refused without `force`."""
    sent_back_to: str | None = None
    """The host on which it then ends: its own is forgotten, and this one is yet to be cleared."""


class ForgetService:
    """Lets go; `wake_sandbox` and `wake_drain` tell the loops, `ended` who counts."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        fleet: FleetView,
        journal: Journal,
        wake_sandbox: Callable[[str], None],
        wake_drain: Callable[[str], None],
        ended: Callable[[Sandbox], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._fleet = fleet
        self._journal = journal
        self._wake_sandbox = wake_sandbox
        self._wake_drain = wake_drain
        self._ended = ended

    async def preview(self, reference: str, request: ForgetSandbox) -> Forgetting:
        """Return what `forget` would let go of, changing nothing."""
        return await self._store.read(partial(_plan, reference, request))

    async def forget(
        self, reference: str, request: ForgetSandbox, intent: Intent[Sandbox]
    ) -> Sandbox:
        """Release everything a sandbox holds, on one host if that is named, and bury it.

        Where only a host is forgotten that it had left, it lives on. Where its own is, and another
        may still hold something of it, it is destroyed there, and buried once that is proven gone.
        Raises `Conflict` while a host answers, unless forced, and when it is destroyed already.
        """
        freed: list[Allocation] = []

        def unit(tx: Transaction) -> Sandbox:
            plan = _plan(reference, request, tx)
            if plan.blockers and not request.force:
                raise Conflict(
                    f"sandbox {plan.sandbox.id} is not forgotten: {'; '.join(plan.blockers)}",
                    remedy="delete it: that proves that nothing is left; use force if that "
                    "cannot end",
                    details={"hosts": list(plan.hosts)},
                )
            freed[:] = plan.allocations
            return self._let_go(tx, plan, request, intent.actor)

        sandbox = await self._store.submit(intent.once(unit))
        for one in freed:
            self._fleet.release(one.host_id, one.resources, one.anti_affinity_group)
            self._wake_drain(one.host_id)
        self._journal.poke()
        self._wake_sandbox(sandbox.id)
        if not sandbox.live:
            self._ended(sandbox)
        return sandbox

    def _let_go(
        self, tx: Transaction, plan: Forgetting, request: ForgetSandbox, actor: str
    ) -> Sandbox:
        now, sandbox = self._clock.now(), plan.sandbox
        for snapshot in plan.snapshots:
            tx.snapshots.remove(snapshot.id)
        for volume in plan.volumes:
            tx.volumes.remove(volume.host_id, volume.pool, volume.name)
        for allocation in plan.allocations:
            tx.allocations.release(sandbox.id, allocation.host_id)
        where = ", ".join(plan.hosts) or "no host"
        why = f": {request.reason}" if request.reason else ""
        tx.events.add(
            Event(
                at=now,
                kind="sandbox.forgotten",
                actor=actor,
                sandbox_id=sandbox.id,
                host_id=sandbox.host_id,
                reason_code=Ending.FORGOTTEN,
                message=f"what {sandbox.id} held on {where} was released without proof{why}",
                evidence=_left_behind(plan),
            )
        )
        held = tx.allocations.of_sandbox(sandbox.id)
        if plan.sent_back_to is not None:
            for snapshot in plan.snapshots:
                _tell_forgotten(tx, sandbox, snapshot, actor, now)
            return _send_back(tx, sandbox, held[0], actor, now)
        if held:
            return tx.sandboxes.get(sandbox.id)
        return tx.sandboxes.bury(
            sandbox.id,
            at=now,
            actor=actor,
            reason_code=Ending.FORGOTTEN,
            reason_message=f"forgotten while on {where}{why}",
            evidence=_left_behind(plan),
        )


def _tell_forgotten(
    tx: Transaction, sandbox: Sandbox, snapshot: Snapshot, actor: str, now: datetime
) -> None:
    """Tell of a snapshot that is gone while its sandbox is not yet (I13)."""
    tx.events.add(
        Event(
            at=now,
            kind="snapshot.deleted",
            actor=actor,
            sandbox_id=sandbox.id,
            host_id=sandbox.host_id,
            reason_code=Ending.FORGOTTEN,
            message=f"snapshot {snapshot.name} was forgotten with what {sandbox.id} held there",
            evidence={"snapshot_id": snapshot.id, "name": snapshot.name},
        )
    )


def _send_back(
    tx: Transaction, before: Sandbox, claim: Allocation, actor: str, now: datetime
) -> Sandbox:
    """Have a sandbox whose own host is forgotten end where it has a claim still (I2, I3)."""
    to = tx.hosts.get(claim.host_id)
    tx.allocations.take_back(before.id, to.id)
    after = sent_back(before, to=to, lost=before.host_name or "", now=now)
    tx.events.add(
        Event(
            at=now,
            kind="sandbox.moved",
            actor=actor,
            sandbox_id=after.id,
            host_id=to.id,
            reason_code=after.reason_code,
            message=after.reason_message or "",
            evidence={
                "from_host": before.host_name,
                "to_host": to.name,
                "desired_state": after.desired_state.value,
            },
        )
    )
    return tx.sandboxes.replace(after, expected_generation=before.generation)


def _plan(reference: str, request: ForgetSandbox, tx: Transaction) -> Forgetting:
    sandbox = by_reference(reference, tx)
    if not sandbox.live:
        raise Conflict(
            f"sandbox {sandbox.id} is destroyed already: there is nothing to forget",
            remedy="what is left of it on a host is an orphan: sandboxctl orphan list",
        )
    hosts = _hosts(tx, sandbox)
    if request.host is not None:
        only = tx.hosts.by_name(request.host)
        if only.id not in hosts:
            raise Conflict(
                f"sandbox {sandbox.id} holds nothing on host {only.name}",
                remedy=f"see what it holds: sandboxctl delete {sandbox.id} --dry-run",
            )
        hosts = {only.id: only}
    here = sandbox.host_id in hosts or not hosts
    held = tx.allocations.of_sandbox(sandbox.id)
    kept = [one.host_id for one in held if one.host_id not in hosts]
    return Forgetting(
        sandbox=sandbox,
        allocations=tuple(one for one in held if one.host_id in hosts),
        volumes=tuple(one for one in tx.volumes.of_owner(sandbox.id) if one.host_id in hosts),
        snapshots=tx.snapshots.of_sandbox(sandbox.id) if here else (),
        hosts=tuple(host.name for host in hosts.values()),
        blockers=tuple(
            f"host {host.name} is {host.health}"
            for host in hosts.values()
            if host.health not in _SILENT
        ),
        sent_back_to=tx.hosts.get(kept[0]).name if here and kept else None,
    )


def _hosts(tx: Transaction, sandbox: Sandbox) -> Mapping[str, HostResources]:
    held = {one.host_id for one in tx.allocations.of_sandbox(sandbox.id)}
    held |= {one.host_id for one in tx.volumes.of_owner(sandbox.id)}
    return {host_id: tx.hosts.get(host_id) for host_id in sorted(held)}


def _left_behind(plan: Forgetting) -> Mapping[str, object]:
    return {
        "hosts": list(plan.hosts),
        "domain_uuid": plan.sandbox.domain_uuid,
        "volumes": [f"{volume.pool}/{volume.name}" for volume in plan.volumes],
        "snapshots": [snapshot.name for snapshot in plan.snapshots],
        "unless_forced": list(plan.blockers),
    }
