"""What a drain means for each sandbox on its host, what stands in its way, and when it may end.

A plan is made anew on every look and never stored: what is left, not what was once planned, says
when the drain is over. Empty is proven by the ledger, since a stopped sandbox still holds its disk.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from scheduler.lifecycle import moves
from scheduler.lifecycle.steps import ConditionKind
from scheduler.model import (
    Allocation,
    DesiredState,
    Drain,
    DrainPolicy,
    HostHealth,
    HostResources,
    OnDeadline,
    Sandbox,
    Snapshot,
)


class Verb(StrEnum):
    """What the drain does to one sandbox now."""

    STOP = "stop"
    DESTROY = "destroy"
    MOVE = "move"
    """To another host, with its disk; see `DrainAction.moving`."""
    WAIT = "wait"
    """For its lease, its deadline, its turn to move or a removal under way to end."""
    KEEP = "keep"
    """Nothing any more: the deadline is over and the operator chose to keep what is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainAction:
    """One sandbox's part in the drain."""

    sandbox_id: str
    sandbox_name: str
    agent_id: str
    verb: Verb
    due_at: datetime | None
    """When it should leave the host; None when nothing says so."""
    moving: bool = False
    """Whether its move has been asked for; then nothing is to be written."""
    blocker: str | None = None
    """Why it will not leave by itself, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainPlan:
    """The whole drain at this moment."""

    actions: tuple[DrainAction, ...]
    blockers: tuple[str, ...]
    eta: datetime | None
    """When the last one should be gone; None while something has no end."""
    remaining: int
    finished: bool
    """Proven empty: neither a live sandbox nor an allocation of any state is left."""

    @property
    def due(self) -> tuple[DrainAction, ...]:
        """Return the actions that need a write now."""
        return tuple(
            a
            for a in self.actions
            if a.verb in (Verb.STOP, Verb.DESTROY) or (a.verb is Verb.MOVE and not a.moving)
        )


_AT_DEADLINE: Mapping[OnDeadline, Verb] = {
    OnDeadline.STOP: Verb.STOP,
    OnDeadline.DESTROY: Verb.DESTROY,
    OnDeadline.KEEP: Verb.KEEP,
}
_BY_POLICY: Mapping[DrainPolicy, Verb] = {
    DrainPolicy.STOP: Verb.STOP,
    DrainPolicy.DESTROY: Verb.DESTROY,
    DrainPolicy.EXPIRE: Verb.WAIT,
    DrainPolicy.MOVE: Verb.MOVE,
}


def plan(
    drain: Drain,
    sandboxes: Collection[Sandbox],
    now: datetime,
    *,
    allocations: Collection[Allocation],
    host: HostResources,
    snapshots: Collection[Snapshot] = (),
) -> DrainPlan:
    """Return what the drain does with the host's `sandboxes` and `allocations` at `now`.

    Their `snapshots` say who cannot be moved, where that is the policy.
    """
    present = sorted((s for s in sandboxes if s.live), key=lambda s: (s.created_at, s.id))
    queue = _Queue.of(present, host, snapshots)
    actions = tuple(_action(drain, sandbox, queue, now) for sandbox in present)
    leftovers = _leftovers({sandbox.id for sandbox in present}, allocations)
    blockers = tuple(
        f"{a.sandbox_name} ({a.sandbox_id}): {a.blocker}" for a in actions if a.blocker
    )
    remaining = len(actions) + len(leftovers)
    return DrainPlan(
        actions=actions,
        blockers=blockers + leftovers,
        eta=_eta(actions, leftovers, now),
        remaining=remaining,
        finished=remaining == 0,
    )


@dataclass(slots=True)
class _Queue:
    """Who moves, who may, and for how many more there is a turn."""

    host: HostResources
    snapshots: Mapping[str, Collection[Snapshot]]
    turns: int

    @classmethod
    def of(
        cls,
        present: Collection[Sandbox],
        host: HostResources,
        snapshots: Collection[Snapshot],
    ) -> Self:
        """Return the queue as it stands; who cannot go on gives their turn to another."""
        held: defaultdict[str, list[Snapshot]] = defaultdict(list)
        for snapshot in snapshots:
            held[snapshot.sandbox_id].append(snapshot)
        going = sum(moves.under_way(one) and _failing(one) is None for one in present)
        return cls(host, held, max(0, moves.MOST_AT_ONCE - going))

    def hindrance(self, sandbox: Sandbox) -> moves.Hindrance | None:
        """Return why a sandbox cannot be moved; None when it can, or is being so."""
        if moves.under_way(sandbox):
            return None
        return moves.hindrance(sandbox, self.host, self.snapshots.get(sandbox.id, ()))

    def takes(self, sandbox: Sandbox) -> bool:
        """Return whether it is a sandbox's turn, and take that."""
        if self.turns == 0 or self.hindrance(sandbox) is not None:
            return False
        self.turns -= 1
        return True


def _action(drain: Drain, sandbox: Sandbox, queue: _Queue, now: datetime) -> DrainAction:
    wanted = _verb(drain, sandbox, now)
    moving = moves.under_way(sandbox) and wanted in (Verb.MOVE, Verb.KEEP, Verb.WAIT)
    verb = wanted
    if moving:
        verb = Verb.MOVE
    elif wanted is Verb.MOVE and not queue.takes(sandbox):
        verb = Verb.WAIT
    due_at = _due_at(drain, sandbox, verb, now)
    return DrainAction(
        sandbox_id=sandbox.id,
        sandbox_name=sandbox.sandbox_name,
        agent_id=sandbox.agent_id,
        verb=verb,
        due_at=due_at,
        moving=moving,
        blocker=_unreachable(queue.host)
        or (
            _immovable(sandbox, queue)
            if Verb.MOVE in (wanted, verb)
            else _blocker(sandbox, verb, due_at)
        ),
    )


def _verb(drain: Drain, sandbox: Sandbox, now: datetime) -> Verb:
    """Return what to do now; what is on its way already only needs waiting for."""
    late = drain.deadline_at is not None and drain.deadline_at <= now
    verb = _AT_DEADLINE[drain.on_deadline] if late else _BY_POLICY[drain.policy]
    leaving = sandbox.desired_state is DesiredState.DESTROYED
    stopping = sandbox.desired_state is DesiredState.STOPPED and verb is Verb.STOP
    return Verb.WAIT if leaving or stopping else verb


def _due_at(drain: Drain, sandbox: Sandbox, verb: Verb, now: datetime) -> datetime | None:
    if verb is Verb.DESTROY or sandbox.desired_state is DesiredState.DESTROYED:
        return now
    ends = [end for end in (_lease_end(sandbox), _deadline(drain, now)) if end is not None]
    return min(ends, default=None)


def _lease_end(sandbox: Sandbox) -> datetime | None:
    """Return when its lease ends, at the latest for one that has not begun."""
    if sandbox.expires_at is not None:
        return sandbox.expires_at
    if sandbox.ttl_seconds is None:
        return None
    since = sandbox.queued_at or sandbox.created_at
    return since + timedelta(seconds=sandbox.provision_timeout_seconds + sandbox.ttl_seconds)


def _deadline(drain: Drain, now: datetime) -> datetime | None:
    """Return when the deadline will remove what is left, if it does."""
    if drain.deadline_at is None or drain.on_deadline is not OnDeadline.DESTROY:
        return None
    return max(drain.deadline_at, now)


def _unreachable(host: HostResources) -> str | None:
    if host.health is HostHealth.UP:
        return None
    reason = f": {host.health_reason}" if host.health_reason else ""
    return f"host_unreachable, host {host.name} is {host.health}{reason}"


def _immovable(sandbox: Sandbox, queue: _Queue) -> str | None:
    """Return why a sandbox that is to be moved does not get away; what passes is no blocker."""
    hindrance = queue.hindrance(sandbox)
    if hindrance is not None:
        told = f"{hindrance.code}, {hindrance.message}; {hindrance.remedy}"
        return None if hindrance.passing else told
    failing = _failing(sandbox)
    return f"move_failing, {failing}" if failing is not None and moves.under_way(sandbox) else None


def _failing(sandbox: Sandbox) -> str | None:
    failing = (c.message for c in sandbox.conditions if c.kind == ConditionKind.FAILING)
    return next(failing, None)


def _blocker(sandbox: Sandbox, verb: Verb, due_at: datetime | None) -> str | None:
    if verb is Verb.KEEP:
        return "kept_at_deadline, the deadline is over and what is left is kept"
    if due_at is None:
        state = "stopped" if sandbox.desired_state is DesiredState.STOPPED else "running"
        return f"no_expiry, it is to stay {state} without an end; destroy it or give it a ttl"
    return None


def _leftovers(present: Collection[str], allocations: Collection[Allocation]) -> tuple[str, ...]:
    return tuple(
        f"{a.sandbox_id}: allocation_{a.state}, its claim on this host is not released yet"
        for a in sorted(allocations, key=lambda a: a.sandbox_id)
        if a.sandbox_id not in present
    )


def _eta(
    actions: Collection[DrainAction], leftovers: Collection[str], now: datetime
) -> datetime | None:
    if leftovers or any(action.blocker or action.due_at is None for action in actions):
        return None
    return max((action.due_at for action in actions if action.due_at is not None), default=now)
