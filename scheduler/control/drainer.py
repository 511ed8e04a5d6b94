"""Carries out drains: plans anew on every pass, writes intents, and ends only on proof.

A drain is a row; this loop may stop at any point and the next pass, or the next daemon, goes on.
What a plan orders is decided and written in one transaction, so that neither an abort nor a delete
that came first is ever overruled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import structlog

from scheduler.clock import Clock
from scheduler.errors import Conflict, NotFound, Unreadable
from scheduler.lifecycle import drains
from scheduler.lifecycle.drains import DrainAction, DrainPlan, Verb
from scheduler.lifecycle.moving import unwished, wish_of
from scheduler.model import DesiredState, Drain, DrainState, Ending, Event, HostState
from scheduler.service.lease_time import lease_time
from scheduler.service.moves import ask
from scheduler.store import DrainFilter, ListOptions, Store, Transaction

MOST_DRAINS = 1000
"""More drains at once than this wait for the first ones to end."""
MOST_WISHES = 100
"""So many sandboxes are written in one transaction, so that no other writer waits for long."""
LONGEST_SLEEP_SECONDS = 60.0

_WISHES = {Verb.STOP: DesiredState.STOPPED, Verb.DESTROY: DesiredState.DESTROYED}

_log = structlog.get_logger("scheduler.control")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Agenda:
    """The drains that want something written now, and when the next one will."""

    wanting: tuple[Drain, ...]
    next_in_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Advance:
    """What one drain's transaction wrote."""

    woken: tuple[str, ...] = ()
    more: bool = False
    ended: DrainState | None = None


class Drainer:
    """Empties the hosts that are to be drained."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        wake_sandbox: Callable[[str], None],
        changed: Callable[[str], Awaitable[None]],
        count: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._wake_sandbox = wake_sandbox
        self._changed = changed
        self._count = count

    async def drain(self) -> float | None:
        """Do what every active drain wants now; return the seconds until one wants more."""
        agenda = await self._store.read(partial(_agenda, self._clock))
        more = False
        for drain in agenda.wanting:
            advance = await self._advance(drain)
            for sandbox_id in advance.woken:
                self._wake_sandbox(sandbox_id)
            more = more or advance.more
            if advance.ended is not None:
                self._count(advance.ended.value.lower())
            await self._changed(drain.host_id)
        if more:
            return 0.0
        ahead = agenda.next_in_seconds
        return None if ahead is None else min(ahead, LONGEST_SLEEP_SECONDS)

    async def _advance(self, drain: Drain) -> _Advance:
        try:
            return await self._store.submit(partial(_write, drain.id, self._clock))
        except (Conflict, Unreadable) as error:
            _log.warning("drain waits", host=drain.host_name, error=error.message)
            return _Advance()


def _agenda(clock: Clock, tx: Transaction) -> _Agenda:
    now = lease_time(tx, clock)
    active = tx.drains.find(DrainFilter(state=DrainState.ACTIVE), ListOptions(limit=MOST_DRAINS))
    deadlines = [drain.deadline_at for drain in active.items if drain.deadline_at is not None]
    ahead = [(at - now).total_seconds() for at in deadlines if at > now]
    return _Agenda(
        wanting=tuple(drain for drain in active.items if _wants(tx, drain, now)),
        next_in_seconds=min(ahead, default=None),
    )


def _wants(tx: Transaction, drain: Drain, now: datetime) -> bool:
    try:
        plan = _plan(tx, drain, now)
    except Unreadable:
        return True  # which is told where it is tried
    if plan is None or plan.finished or plan.due:
        return True
    return plan.remaining != drain.remaining


def _plan(tx: Transaction, drain: Drain, now: datetime) -> DrainPlan | None:
    """Plan a drain from what is true now; None when its host was removed."""
    try:
        host = tx.hosts.get(drain.host_id)
    except NotFound:
        return None
    return drains.plan(
        drain,
        tx.sandboxes.of_host(drain.host_id),
        now,
        allocations=tx.allocations.of_host(drain.host_id),
        host=host,
        snapshots=tx.snapshots.of_host(drain.host_id),
    )


def _write(drain_id: str, clock: Clock, tx: Transaction) -> _Advance:
    """Write what a drain wants: wishes first, its progress, and its end once that is proven."""
    now = lease_time(tx, clock)
    drain = tx.drains.get(drain_id)
    if drain.state is not DrainState.ACTIVE:
        return _Advance()
    plan = _plan(tx, drain, now)
    if plan is None:
        _abandon(tx, drain, now)
        return _Advance(ended=DrainState.ABORTED)
    wished = plan.due[:MOST_WISHES]
    for action in wished:
        _wish(tx, drain, action, now)
    noted = replace(drain, remaining=plan.remaining)
    if plan.finished:
        _finish(tx, noted, now)
    elif noted != drain:
        tx.drains.replace(noted)
    return _Advance(
        woken=tuple(action.sandbox_id for action in wished),
        more=len(plan.due) > len(wished),
        ended=DrainState.FINISHED if plan.finished else None,
    )


def _wish(tx: Transaction, drain: Drain, action: DrainAction, now: datetime) -> None:
    sandbox = tx.sandboxes.get(action.sandbox_id)
    why = f"host {drain.host_name} is being drained: {drain.reason or 'no reason given'}"
    if action.verb is Verb.MOVE:
        ask(tx, sandbox, reason=why, drain_id=drain.id, actor=drain.actor, now=now)
        return
    ending = action.verb is Verb.DESTROY
    tx.sandboxes.transition(
        sandbox.id,
        sandbox.state,
        sandbox.state,
        at=now,
        actor=drain.actor,
        reason_code=Ending.DRAINED,
        reason_message=why,
        desired_state=_WISHES[action.verb],
        attempts=0,
        retry_at=None,
        evidence={"drain_id": drain.id},
        **wish_of(unwished(sandbox) if ending else sandbox),
    )


def _abandon(tx: Transaction, drain: Drain, now: datetime) -> None:
    tx.drains.replace(replace(drain, state=DrainState.ABORTED, ended_at=now))
    tx.events.add(
        Event(
            at=now,
            kind="drain.aborted",
            host_id=drain.host_id,
            reason_code="host_removed",
            message=f"host {drain.host_name} was removed while it was being drained",
            evidence={"drain_id": drain.id, "total": drain.total, "remaining": drain.remaining},
        )
    )


def _finish(tx: Transaction, drain: Drain, now: datetime) -> None:
    tx.drains.replace(replace(drain, state=DrainState.FINISHED, ended_at=now))
    tx.hosts.set_state(
        drain.host_id,
        {HostState.DRAINING},
        HostState.DRAINED,
        at=now,
        actor=drain.actor,
        reason=f"drained: {drain.reason}" if drain.reason else "drained",
    )
    tx.events.add(
        Event(
            at=now,
            kind="drain.finished",
            actor=drain.actor,
            host_id=drain.host_id,
            reason_code="drained",
            message=f"host {drain.host_name} holds no sandbox any more",
            evidence={"drain_id": drain.id, "total": drain.total},
        )
    )
