"""Drains: the durable wish to empty a host, planned by pure rules and carried out by a loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from scheduler import ids
from scheduler.clock import Clock
from scheduler.errors import Conflict, NotFound
from scheduler.lifecycle.drains import DrainPlan, plan
from scheduler.model import Drain, DrainState, Event, HostResources, HostState
from scheduler.service.fleet import FleetView
from scheduler.service.host_guards import check_state, host_at
from scheduler.service.intents import Intent
from scheduler.service.journal import Journal
from scheduler.service.lease_time import lease_time
from scheduler.service.moves import call_off
from scheduler.service.requests import DrainHost
from scheduler.store import Store, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainStatus:
    """A drain, the host it empties and what it means for each sandbox now."""

    drain: Drain
    host: HostResources
    plan: DrainPlan


class DrainService:
    """What operators do with drains; `wake` tells the draining loop of a host.

    `wake_sandbox` tells the loop of each that was to leave with a drain that is called off, and
    `count` is told the status of that drain.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        fleet: FleetView,
        journal: Journal,
        wake: Callable[[str], None],
        wake_sandbox: Callable[[str], None] = lambda _id: None,
        count: Callable[[str], None] = lambda _status: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._fleet = fleet
        self._journal = journal
        self._wake = wake
        self._wake_sandbox = wake_sandbox
        self._count = count

    async def drain(
        self,
        name: str,
        request: DrainHost,
        intent: Intent[DrainStatus],
        *,
        expected_revision: int | None = None,
    ) -> DrainStatus:
        """Begin to empty a host; the same wish again returns the drain under way.

        Another deadline that is named, counted from now, takes the place of the one there is.
        Raises `Conflict` when another drain is under way or the host is being removed.
        """

        def unit(tx: Transaction) -> DrainStatus:
            host = host_at(tx, name, expected_revision)
            drain = tx.drains.active(host.id)
            if drain is None:
                return self._begin(tx, host, request, intent.actor)
            return self._go_on(tx, host, drain, request, intent.actor)

        return self._committed(await self._store.submit(intent.once(unit)))

    async def preview(
        self, name: str, request: DrainHost, actor: str, *, expected_revision: int | None = None
    ) -> DrainStatus:
        """Return what a drain would mean for every sandbox, changing nothing."""

        def unit(tx: Transaction) -> DrainStatus:
            host = host_at(tx, name, expected_revision)
            drain = tx.drains.active(host.id)
            if drain is not None:
                return self._status(tx, host, self._revised(tx, host, drain, request))
            check_state(host, _DRAINABLE, HostState.DRAINING)
            return self._status(tx, host, self._planned(tx, host, request, actor))

        return await self._store.read(unit)

    async def status(self, name: str) -> DrainStatus:
        """Return a host's drain, the last one when none is under way; raises `NotFound`."""

        def unit(tx: Transaction) -> DrainStatus:
            host = tx.hosts.by_name(name)
            drain = tx.drains.latest(host.id)
            if drain is None:
                raise NotFound(
                    f"host {name} has never been drained", remedy="begin a drain with POST"
                )
            return self._status(tx, host, drain)

        return await self._store.read(unit)

    async def abort(
        self,
        name: str,
        reason: str,
        intent: Intent[DrainStatus],
        *,
        expected_revision: int | None = None,
    ) -> DrainStatus:
        """Call a drain off; the host stays cordoned, and what was destroyed stays so."""
        to, reason = HostState.CORDONED, reason or "drain aborted"
        return await self._end(name, reason, to, intent, expected_revision=expected_revision)

    async def undo(
        self,
        name: str,
        reason: str,
        intent: Intent[DrainStatus],
        *,
        expected_revision: int | None = None,
    ) -> DrainStatus:
        """Call a drain off, or take a finished one back: the host takes sandboxes again."""
        to, reason = HostState.ACTIVE, reason or "drain undone"
        return await self._end(name, reason, to, intent, expected_revision=expected_revision)

    async def _end(
        self,
        name: str,
        reason: str,
        to: HostState,
        intent: Intent[DrainStatus],
        *,
        expected_revision: int | None,
    ) -> DrainStatus:
        unit = partial(
            self._record_end,
            name,
            to,
            reason=reason,
            actor=intent.actor,
            expected_revision=expected_revision,
        )
        status = await self._store.submit(intent.once(unit))
        if status.drain.state is DrainState.ABORTED:  # a finished one is taken back, and stays so
            self._count(status.drain.state.value.lower())
        for action in status.plan.actions:
            self._wake_sandbox(action.sandbox_id)
        return self._committed(status)

    def _record_end(
        self,
        name: str,
        to: HostState,
        tx: Transaction,
        *,
        reason: str,
        actor: str,
        expected_revision: int | None,
    ) -> DrainStatus:
        now = self._clock.now()
        host = host_at(tx, name, expected_revision)
        drain = tx.drains.latest(host.id)
        expected = _ENDS[to]
        if drain is None or host.state not in expected:
            raise Conflict(
                f"host {name} is {host.state}: there is no drain to call off",
                remedy="see the host's state; a cordoned host is released by uncordon",
                details={"state": host.state.value},
            )
        if drain.state is DrainState.ACTIVE:
            drain = tx.drains.replace(replace(drain, state=DrainState.ABORTED, ended_at=now))
            _call_moves_off(tx, drain, actor, now)
        host = tx.hosts.set_state(host.id, expected, to, at=now, actor=actor, reason=reason)
        tx.events.add(_event("drain.aborted", drain, actor, reason, now=now))
        return self._status(tx, host, drain)

    def _go_on(
        self, tx: Transaction, host: HostResources, drain: Drain, request: DrainHost, actor: str
    ) -> DrainStatus:
        """Write a drain's new deadline; what it has ended by then stays ended."""
        revised = self._revised(tx, host, drain, request)
        if revised is not drain:
            tx.drains.replace(revised)
            # A drain has no ETag but its host's, by which it is called off.
            host = tx.hosts.replace(host, expected_generation=host.generation)
            until = revised.deadline_at
            message = f"deadline {until.isoformat() if until else 'never'}"
            reason = f"{message}: {request.reason}" if request.reason else message
            event = _event("drain.changed", revised, actor, reason, now=self._clock.now())
            tx.events.add(event)
        return self._status(tx, host, revised)

    def _revised(
        self, tx: Transaction, host: HostResources, drain: Drain, request: DrainHost
    ) -> Drain:
        """Return the drain under way as it is wished for now; itself when nothing differs."""
        if (drain.policy, drain.on_deadline) != (request.policy, request.on_deadline):
            raise Conflict(
                f"host {host.name} is being drained already, by policy {drain.policy} and "
                f"{drain.on_deadline} at its deadline",
                remedy="name the same two to change its deadline alone; for others abort it first",
                details={
                    "drain_id": drain.id,
                    "policy": drain.policy.value,
                    "on_deadline": drain.on_deadline.value,
                },
            )
        seconds = request.deadline_seconds
        if "deadline_seconds" not in request.model_fields_set:
            return drain
        if seconds == drain.deadline_seconds:
            return drain
        until = _deadline(lease_time(tx, self._clock), seconds)
        return replace(drain, deadline_at=until, deadline_seconds=seconds)

    def _begin(
        self,
        tx: Transaction,
        host: HostResources,
        request: DrainHost,
        actor: str,
    ) -> DrainStatus:
        check_state(host, _DRAINABLE, HostState.DRAINING)
        drain = self._planned(tx, host, request, actor)
        reason = drain.reason or "drained"
        draining = tx.hosts.set_state(
            host.id,
            _DRAINABLE,
            HostState.DRAINING,
            at=drain.started_at,
            actor=actor,
            reason=reason,
        )
        tx.drains.add(drain)
        tx.events.add(_event("drain.started", drain, actor, reason, now=drain.started_at))
        return self._status(tx, draining, drain)

    def _planned(
        self, tx: Transaction, host: HostResources, request: DrainHost, actor: str
    ) -> Drain:
        now = lease_time(tx, self._clock)
        present = len(tx.sandboxes.of_host(host.id))
        return Drain(
            id=ids.new_id(ids.Prefix.DRAIN),
            host_id=host.id,
            host_name=host.name,
            policy=request.policy,
            on_deadline=request.on_deadline,
            reason=request.reason,
            actor=actor,
            deadline_at=_deadline(now, request.deadline_seconds),
            deadline_seconds=request.deadline_seconds,
            total=present,
            remaining=present,
            started_at=now,
        )

    def _status(self, tx: Transaction, host: HostResources, drain: Drain) -> DrainStatus:
        return DrainStatus(
            drain=drain,
            host=host,
            plan=plan(
                drain,
                tx.sandboxes.of_host(host.id),
                self._clock.now(),
                allocations=tx.allocations.of_host(host.id),
                host=host,
                snapshots=tx.snapshots.of_host(host.id),
            ),
        )

    def _committed(self, status: DrainStatus) -> DrainStatus:
        self._fleet.put(status.host)
        self._journal.poke()
        self._wake(status.host.id)
        return status


def _call_moves_off(tx: Transaction, drain: Drain, actor: str, now: datetime) -> None:
    """Have stay what the drain was moving; what has left already stays where it is."""
    for sandbox in tx.sandboxes.of_host(drain.host_id):
        if sandbox.move_drain_id == drain.id:
            call_off(tx, sandbox, why="the drain was called off", actor=actor, now=now)


_DRAINABLE = (HostState.ACTIVE, HostState.CORDONED)
_ENDS = {
    HostState.CORDONED: (HostState.DRAINING,),
    HostState.ACTIVE: (HostState.DRAINING, HostState.DRAINED),
}


def _deadline(since: datetime, seconds: int | None) -> datetime | None:
    return None if seconds is None else since + timedelta(seconds=seconds)


def _event(kind: str, drain: Drain, actor: str, message: str, *, now: datetime) -> Event:
    return Event(
        at=now,
        kind=kind,
        actor=actor,
        host_id=drain.host_id,
        reason_code=drain.policy.value,
        message=message,
        evidence={
            "drain_id": drain.id,
            "policy": drain.policy.value,
            "deadline_at": drain.deadline_at.isoformat() if drain.deadline_at else None,
            "remaining": drain.remaining,
        },
    )
