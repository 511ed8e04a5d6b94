"""Takes a sandbox that its host cannot bring up to another host, in one transaction.

The old claim turns `releasing` and stays charged until `leftovers` has proven that nothing is left
there; only where nothing was ever begun is it released at once. Who may move is the rules' word,
where to is placement's, and the guard in the store has the last one on room.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from scheduler import ids
from scheduler.clock import Clock
from scheduler.control.records import untouched
from scheduler.errors import Conflict, NotFound, StaleRevision
from scheduler.lifecycle.alternates import moved
from scheduler.lifecycle.steps import Relocate
from scheduler.model import Allocation, AllocationState, Decision, HostResources, Sandbox
from scheduler.placement.choice import Choice
from scheduler.placement.demand import Demand
from scheduler.placement.documents import decision_of, demand_of
from scheduler.service.fleet import FleetView
from scheduler.service.lease_time import lease_time
from scheduler.service.sandbox_records import put
from scheduler.store import Store, Transaction

TRIES = 5
"""How often a move is decided anew because the store refused the claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A sandbox before and after its move, and the claim that this released, if any."""

    before: Sandbox
    after: Sandbox
    freed: Allocation | None
    failure: str | None
    """Why its host failed it; None where it was asked to move."""


Arrive = Callable[[HostResources, Decision, datetime], Sandbox]
"""Returns a sandbox's record on the host that was chosen for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """Who leaves its host, how it is recorded on another one, and what is told of that."""

    sandbox: Sandbox
    arrive: Arrive
    evidence: Mapping[str, object]
    check: Callable[[Transaction], None] = lambda _tx: None
    """Raises what the commit depends on beside the sandbox's record."""
    failure: str | None = None


class Relocator:
    """Claims alternates; `moved` is told of each move once it is committed."""

    def __init__(
        self, store: Store, clock: Clock, *, fleet: FleetView, moved: Callable[[Move], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._fleet = fleet
        self._moved = moved

    async def relocate(self, sandbox: Sandbox, step: Relocate) -> str | None:
        """Claim another host for a sandbox; return None once that is done, else why it is not."""
        demand = await self._store.read(partial(_demand, sandbox))
        if isinstance(demand, str):
            return demand
        leaving = Departure(
            sandbox=sandbox,
            arrive=partial(_arrive, sandbox, step),
            evidence={"failure": step.reason_code},
            failure=step.reason_code,
        )
        return await self.take(leaving, demand)

    async def room(self, demand: Demand) -> str | None:
        """Return None when some host would take the demand now, else why none does."""
        choice = await self._fleet.choose(demand)
        return None if choice.chosen is not None else _refused(choice)

    async def take(self, leaving: Departure, demand: Demand) -> str | None:
        """Have a host chosen and a sandbox recorded there; return None once that is done."""
        for _ in range(TRIES):
            choice = await self._fleet.choose(demand)
            if choice.chosen is None:
                return _refused(choice)
            if await self._move(leaving, choice, choice.chosen.host_id):
                return None
        return "the room that was found was taken by others"

    async def _move(self, leaving: Departure, choice: Choice, host_id: str) -> bool:
        """Commit a move; return False when the store refused the claim."""
        host = self._fleet.record(host_id)
        decision = decision_of(
            choice,
            id=ids.new_id(ids.Prefix.DECISION),
            sandbox_id=leaving.sandbox.id,
            at=self._clock.now(),
        )
        charge = self._fleet.charge(host_id, choice.demand)
        committed = False
        try:
            move = await self._store.submit(partial(self._record, leaving, host, decision))
            committed = True
        except StaleRevision:
            raise
        except Conflict:
            await self._fleet.reread(host_id)
            return False
        finally:
            self._fleet.settle(charge, committed=committed)
        if move.freed is not None:
            freed = move.freed
            self._fleet.release(freed.host_id, freed.resources, freed.anti_affinity_group)
        self._moved(move)
        return True

    def _record(
        self, leaving: Departure, host: HostResources, decision: Decision, tx: Transaction
    ) -> Move:
        sandbox = leaving.sandbox
        _check_unchanged(tx, sandbox)
        leaving.check(tx)
        now = lease_time(tx, self._clock)
        old = tx.allocations.get(sandbox.id, sandbox.host_id or "")
        # First, because a claim refused before anything was written spoils nobody else's commit.
        tx.allocations.claim(
            replace(
                old,
                host_id=host.id,
                pool=host.pool,
                state=AllocationState.CLAIMED,
                storage_mb=sandbox.storage_mb,
                claimed_at=now,
            )
        )
        freed = _leave(tx, sandbox, old)
        tx.decisions.add(decision)
        evidence = {
            "from_host": sandbox.host_name,
            "to_host": host.name,
            **leaving.evidence,
            "decision_id": decision.id,
        }
        after = leaving.arrive(host, decision, now)
        return Move(
            before=sandbox,
            after=put(tx, sandbox, after, evidence=evidence),
            freed=freed,
            failure=leaving.failure,
        )


def network_of(decision: Decision, host: HostResources) -> str:
    """Return the network that was asked for, else the host's own."""
    return str(decision.demand["network"] or host.network)


def _arrive(
    sandbox: Sandbox, step: Relocate, host: HostResources, decision: Decision, now: datetime
) -> Sandbox:
    return moved(
        sandbox,
        step,
        to=host,
        network=network_of(decision, host),
        decision_id=decision.id,
        now=now,
    )


def _leave(tx: Transaction, sandbox: Sandbox, old: Allocation) -> Allocation | None:
    """Give the old claim back where no host call was ever begun; else it is to be cleared."""
    if untouched(sandbox):
        return tx.allocations.release(sandbox.id, old.host_id)
    tx.allocations.mark_releasing(sandbox.id, old.host_id)
    return None


def _demand(sandbox: Sandbox, tx: Transaction) -> Demand | str:
    """Return what the sandbox asks of another host, or why it cannot have one."""
    held = tx.allocations.of_sandbox(sandbox.id)
    if not any(
        one.host_id == sandbox.host_id and one.state is AllocationState.CLAIMED for one in held
    ):
        return "it stood on its host before"
    try:
        demand = demand_of(tx.decisions.get(sandbox.decision_id or "").demand)
    except NotFound:
        return "what it asked for is not recorded"
    if demand.host is not None:
        return f"it is pinned to {demand.host}"
    failed = {failure.host_name for failure in sandbox.failed_hosts}
    still_there = {tx.hosts.get(one.host_id).name for one in held}
    return replace(demand, tried=tuple(sorted(failed | still_there)))


def _check_unchanged(tx: Transaction, sandbox: Sandbox) -> None:
    current = tx.sandboxes.get(sandbox.id)
    if current.generation != sandbox.generation:
        raise StaleRevision(
            f"sandbox {sandbox.id} was changed meanwhile",
            remedy="Read it again and decide anew.",
        )


def _refused(choice: Choice) -> str:
    counts = ", ".join(f"{count} by {name}" for name, count in choice.refusals.items())
    return f"{choice.outcome} ({counts})" if counts else str(choice.outcome)
