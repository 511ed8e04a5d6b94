"""Carries out drains: plans anew on every pass, writes intents, and ends only on proof.

A drain is a row; this loop may stop at any point and the next pass, or the next daemon, goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from scheduler.clock import Clock
from scheduler.errors import Conflict, NotFound
from scheduler.lifecycle import drains
from scheduler.lifecycle.drains import DrainAction, DrainPlan, Verb
from scheduler.model import DesiredState, Drain, DrainState, Event, HostState, Sandbox
from scheduler.store import DrainFilter, ListOptions, Store, Transaction

MOST_DRAINS = 1000
"""More drains at once than this wait for the first ones to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    drain: Drain
    plan: DrainPlan


_WISHES = {Verb.STOP: DesiredState.STOPPED, Verb.DESTROY: DesiredState.DESTROYED}


class Drainer:
    """Empties the hosts that are to be drained."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        wake_sandbox: Callable[[str], None],
        changed: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._wake_sandbox = wake_sandbox
        self._changed = changed

    async def drain(self) -> float | None:
        """Do what every active drain wants now; return the seconds until one wants more."""
        planned = await self._store.read(self._plan)
        for item in planned:
            for action in item.plan.due:
                await self._act(item.drain, action)
            await self._note(item)
        moments = [item.drain.deadline_at for item in planned if item.drain.deadline_at]
        now = self._clock.now()
        ahead = [(at - now).total_seconds() for at in moments if at > now]
        return min(ahead, default=None)

    def _plan(self, tx: Transaction) -> tuple[_Planned, ...]:
        now = self._clock.now()
        planned = []
        active = tx.drains.find(
            DrainFilter(state=DrainState.ACTIVE), ListOptions(limit=MOST_DRAINS)
        )
        for drain in active.items:
            plan = drains.plan(
                drain,
                tx.sandboxes.of_host(drain.host_id),
                now,
                allocations=tx.allocations.of_host(drain.host_id),
                host=tx.hosts.get(drain.host_id),
            )
            planned.append(_Planned(drain=drain, plan=plan))
        return tuple(planned)

    async def _act(self, drain: Drain, action: DrainAction) -> None:
        try:
            await self._store.submit(partial(self._wish, drain, action))
        except (Conflict, NotFound):
            return  # somebody else changed it first; the next pass plans anew
        self._wake_sandbox(action.sandbox_id)

    def _wish(self, drain: Drain, action: DrainAction, tx: Transaction) -> Sandbox:
        now = self._clock.now()
        sandbox = tx.sandboxes.get(action.sandbox_id)
        desired = _WISHES[action.verb]
        message = f"host {drain.host_name} is being drained: {drain.reason or 'no reason given'}"
        return tx.sandboxes.transition(
            sandbox.id,
            sandbox.state,
            sandbox.state,
            at=now,
            actor=drain.actor,
            reason_code="drained",
            reason_message=message,
            desired_state=desired,
            attempts=0,
            retry_at=None,
            evidence={"drain_id": drain.id},
        )

    async def _note(self, item: _Planned) -> None:
        """Write down how far the drain is; a finished one ends with its host DRAINED."""
        if not item.plan.finished and item.plan.remaining == item.drain.remaining:
            return
        try:
            await self._store.submit(partial(self._progress, item.drain.id))
        except (Conflict, NotFound):
            return
        self._changed(item.drain.host_id)

    def _progress(self, drain_id: str, tx: Transaction) -> None:
        now = self._clock.now()
        drain = tx.drains.get(drain_id)
        if drain.state is not DrainState.ACTIVE:
            return
        plan = drains.plan(
            drain,
            tx.sandboxes.of_host(drain.host_id),
            now,
            allocations=tx.allocations.of_host(drain.host_id),
            host=tx.hosts.get(drain.host_id),
        )
        noted = replace(drain, remaining=plan.remaining)
        if not plan.finished:
            tx.drains.replace(noted)
            return
        tx.drains.replace(replace(noted, state=DrainState.FINISHED, ended_at=now))
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
