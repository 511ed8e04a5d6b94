"""The invariants, each a function that bears its name and yields what is wrong.

Some are judged at every commit, with the machines as they are at that very moment; some at every
host call; the others after every step. I11 and I12 are about things outside of this model: text
from guests, and a second daemon; see `tests/validation`, `tests/hosts` and `tests/faults`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from scheduler.control.vitals import Turn, find_stuck
from scheduler.lifecycle.orphans import owner_named
from scheduler.model import (
    AllocationState,
    DesiredState,
    HostResources,
    OnExpire,
    Phase,
    Resources,
    Sandbox,
    SandboxState,
)
from tests.model.books import Books, Commit
from tests.model.frozen import BY_COMMIT as OF_SNAPSHOTS
from tests.model.machines import Slot

Rack = Mapping[str, Slot]
"""The slot behind each host record."""
Complaints = Iterator[str]

NOTHING = Resources(vcpus=0, memory_mb=0, storage_mb=0)
ROUNDING_SECONDS = 0.01
LATE_SECONDS = 70.0
"""The reaper sleeps for at most a minute."""
BLIND_SECONDS = 60.0
"""A machine that is well is looked at more often than this, whatever others do."""
PATIENCE_SECONDS = 60.0

C, S, R, P, E, D = (
    SandboxState.CREATED,
    SandboxState.STARTING,
    SandboxState.RUNNING,
    SandboxState.STOPPED,
    SandboxState.ERROR,
    SandboxState.DESTROYED,
)
LEGAL = {C: {S, P, E, D}, S: {R, P, E, D}, R: {P, S, E, D}, P: {C, S, E, D}, E: {S, R, P, D}}
"""The table as the design has it, written down a second time."""


def i1_no_oversell(commit: Commit, rack: Rack) -> Complaints:
    for claim in commit.made:
        host = commit.after.hosts[claim.host_id]
        if not host.limit.covers(host.reserved):
            yield f"{claim.sandbox_id} got a claim on {host.name}: {host.reserved} > {host.limit}"
    for host in commit.after.hosts.values():
        held = [one for one in commit.after.allocations.values() if one.host_id == host.id]
        total = sum((one.resources for one in held), NOTHING)
        if (host.reserved, host.reserved_sandboxes) != (total, len(held)):
            yield f"{host.name} counts {host.reserved}, its {len(held)} claims sum up to {total}"


def i2_one_claim_each(commit: Commit, rack: Rack) -> Complaints:
    staying = Counter(
        (one.sandbox_id, one.host_id)
        for one in commit.after.allocations.values()
        if one.state is not AllocationState.RELEASING
    )
    wanted = {(one.id, one.host_id or ""): 1 for one in commit.after.sandboxes.values()}
    if staying != wanted:
        yield f"claims {sorted(staying)} for live sandboxes {sorted(wanted)}"
    for sandbox_id, host_id in commit.after.allocations:
        if sandbox_id not in commit.after.sandboxes:
            yield f"a claim on {host_id} for {sandbox_id}, which is not live"


def i3_released_on_proof(commit: Commit, rack: Rack) -> Complaints:
    for claim in commit.released:
        if commit.told(claim.sandbox_id, reason="forgotten"):
            continue
        sandbox = commit.before.sandboxes[claim.sandbox_id]
        fake = rack[claim.host_id].machine.fake
        if sandbox.domain_uuid in fake.domains:
            yield f"{sandbox.id} was released from {claim.host_id}, where its domain is"
        for volume in commit.before.volumes:
            mine = volume.owner == sandbox.id and volume.host_id == claim.host_id
            if mine and volume.name in fake.volumes:
                yield f"{sandbox.id} was released from {claim.host_id}, where {volume.name} is"


def i6_absence_is_proven(commit: Commit, rack: Rack) -> Complaints:
    for old, new in commit.changed():
        if new.reason_code != "domain_lost" or old.state is new.state:
            continue
        if new.domain_uuid in rack[new.host_id or ""].machine.fake.domains:
            yield f"{new.id} is said to be lost, and it is there"


def i7_legal_changes(commit: Commit, rack: Rack) -> Complaints:
    shifted = any(one.kind == "clock.stepped" for one in commit.events)
    for old, new in commit.changed():
        if new.state is not old.state and new.state not in LEGAL[old.state]:
            yield f"{new.id} went from {old.state} to {new.state}"
        if new.generation <= old.generation and not shifted:
            yield f"{new.id} was written without a new generation"
        if DesiredState.DESTROYED in (old.desired_state,) and new.desired_state is not (
            DesiredState.DESTROYED
        ):
            yield f"{new.id} was to be destroyed and is not any more"
    for sandbox in commit.after.sandboxes.values():
        if sandbox.id not in commit.before.sandboxes and sandbox.state is not C:
            yield f"{sandbox.id} began as {sandbox.state}"


def i7_decision_for_each_claim(commit: Commit, rack: Rack) -> Complaints:
    for (sandbox_id, host_id), decision in commit.decisions.items():
        if decision is None or decision.host_id != host_id or decision.sandbox_id != sandbox_id:
            yield f"no decision says why {sandbox_id} has a claim on {host_id}: {decision}"


def i7_tombstones(commit: Commit, rack: Rack) -> Complaints:
    for sandbox in commit.buried.values():
        if sandbox.state is not D or sandbox.deleted_at is None or sandbox.phase is not None:
            yield f"{sandbox.id} left the living as {sandbox.state}, {sandbox.phase}"
        if not commit.told(sandbox.id, reason="forgotten"):
            wished = commit.before.sandboxes[sandbox.id].desired_state
            if wished is not DesiredState.DESTROYED:
                yield f"{sandbox.id} was destroyed, and {wished} was asked for"
        listed = [one.name for one in commit.after.volumes if one.owner == sandbox.id]
        if listed:
            yield f"{sandbox.id} is buried and {listed} are still listed for it"


def i13_every_change_is_told(commit: Commit, rack: Rack) -> Complaints:
    for old, new in commit.changed():
        visible = (old.state, old.desired_state, old.host_id) != (
            new.state,
            new.desired_state,
            new.host_id,
        )
        if visible and not commit.told(new.id):
            yield f"{new.id} changed from {old.state} to {new.state} and no event says so"
    for sandbox_id in commit.after.sandboxes.keys() - commit.before.sandboxes.keys():
        if not commit.told(sandbox_id, kind="sandbox.created"):
            yield f"{sandbox_id} was created and no event says so"
    numbers = [one.seq or 0 for one in commit.events]
    if numbers != sorted(set(numbers)) or any(n <= commit.before.latest_event for n in numbers):
        yield f"events numbered {numbers} after {commit.before.latest_event}"


def no_bug_is_parked(commit: Commit, rack: Rack) -> Complaints:
    for event in commit.events:
        if event.reason_code == "internal_error":
            yield f"{event.message}: {event.evidence.get('traceback')}"


BY_COMMIT: tuple[Callable[[Commit, Rack], Complaints], ...] = (
    i1_no_oversell,
    i2_one_claim_each,
    i3_released_on_proof,
    i6_absence_is_proven,
    i7_legal_changes,
    i7_decision_for_each_claim,
    i7_tombstones,
    i13_every_change_is_told,
    no_bug_is_parked,
    *OF_SNAPSHOTS,
)


@dataclass(slots=True)
class Leases:
    """When each lease ends, in the one time that nobody can set."""

    ends: dict[str, float] = field(default_factory=dict)
    reaped: set[str] = field(default_factory=set)

    def i10_neither_early_nor_twice(self, commit: Commit) -> Complaints:
        """Judge what was ended, then take over the ends that were written."""
        for old, new in commit.changed():
            if _reaped(old, new) and commit.told(new.id, reason="lease_expired"):
                left = self.ends[old.id] - commit.boottime
                if left > ROUNDING_SECONDS:
                    yield f"{new.id} was reaped {left:.3f} s early"
                if old.id in self.reaped and old.on_expire is OnExpire.DESTROY:
                    yield f"{new.id} was reaped twice"
                self.reaped.add(old.id)
        if not any(one.kind == "clock.stepped" for one in commit.events):
            self._take_over(commit)

    def _take_over(self, commit: Commit) -> None:
        for sandbox in commit.after.sandboxes.values():
            old = commit.before.sandboxes.get(sandbox.id)
            if sandbox.expires_at is None or (old and old.expires_at == sandbox.expires_at):
                continue
            left = (sandbox.expires_at - commit.lease_now).total_seconds()
            self.ends[sandbox.id] = commit.boottime + left

    def trust_the_wall(self, books: Books, now: datetime, boottime: float) -> None:
        """Count anew after a boot, across which nobody can tell a step from time that passed."""
        for sandbox in books.sandboxes.values():
            if sandbox.expires_at is not None:
                self.ends[sandbox.id] = boottime + (sandbox.expires_at - now).total_seconds()

    def i10_nor_late(self, books: Books, boottime: float) -> Complaints:
        """Judge what should have been ended by now."""
        for sandbox in books.sandboxes.values():
            late = boottime - self.ends.get(sandbox.id, boottime)
            ending = sandbox.desired_state is DesiredState.DESTROYED
            if late > LATE_SECONDS and not ending and sandbox.expires_at is not None:
                yield f"{sandbox.id} should have been reaped {late:.0f} s ago"


def _reaped(old: Sandbox, new: Sandbox) -> bool:
    """Return whether this change is the end of a lease, and not what follows from it."""
    wished = (old.desired_state, old.expires_at) != (new.desired_state, new.expires_at)
    return wished and new.reason_code == "lease_expired"


_ALLOWS: Mapping[str, frozenset[Phase]] = {
    "define": frozenset({Phase.BUILD}),
    "start": frozenset({Phase.START}),
    "shutdown": frozenset({Phase.STOP}),
    "power_off": frozenset({Phase.STOP, Phase.DESTROY, Phase.REVERT, Phase.SNAPSHOT}),
    "resume": frozenset({Phase.RESUME}),
    "undefine": frozenset({Phase.DESTROY}),
    "take_snapshot": frozenset({Phase.SNAPSHOT}),
    "delete_snapshot": frozenset({Phase.SNAPSHOT}),
    "revert_snapshot": frozenset({Phase.REVERT}),
    "freeze": frozenset({Phase.SNAPSHOT}),
    "merge": frozenset({Phase.SNAPSHOT}),
    "flush": frozenset({Phase.SNAPSHOT}),
    "restate": frozenset({Phase.SNAPSHOT, Phase.REVERT}),
}


_OF_VOLUMES = frozenset(
    {"create_overlay", "create_seed", "create_layer", "flatten_volume", "delete_volume"}
)


def i4_intent_is_committed(
    books: Books, host_id: str, verb: str, thing: str, owner: str | None
) -> Complaints:
    """Judge a call about to be made; `owner` is whose domain or volume the thing is by name."""
    if verb in _OF_VOLUMES:
        if not any(one.host_id == host_id and one.name == thing for one in books.volumes):
            yield f"{verb} {thing} on {host_id}, which no row lists"
        return
    sandbox = books.sandboxes.get(owner or "")
    if sandbox is not None and sandbox.host_id == host_id and sandbox.phase in _ALLOWS[verb]:
        return
    if verb in ("power_off", "undefine") and _is_leftover(books, host_id, owner, sandbox):
        return
    phase = sandbox.phase if sandbox is not None else None
    yield f"{verb} {thing} on {host_id} for {owner}, whose phase is {phase}"


def _is_leftover(books: Books, host_id: str, owner: str | None, sandbox: Sandbox | None) -> bool:
    claim = books.allocations.get((owner or "", host_id))
    if claim is not None and claim.state is AllocationState.RELEASING:
        return True
    listed = any(one.owner == owner and one.host_id == host_id for one in books.volumes)
    return sandbox is None and owner is not None and listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What is true between two steps."""

    books: Books
    rack: Rack
    owners: Mapping[str, str]
    """Whose domain each UUID is, from every record there ever was."""
    excused: frozenset[str]
    """Sandboxes that an operator forgot or brought back by hand: what is left of them is known."""
    acknowledged: frozenset[str]
    known: frozenset[str]
    """Every record that can still be read, tombstones included."""
    turns: tuple[Turn, ...]
    uptime: float
    now: float


def i2_nothing_without_a_claim(moment: Moment) -> Complaints:
    for slot in moment.rack.values():
        for domain in slot.machine.ours():
            owner = moment.owners.get(domain.uuid)
            if owner in moment.excused:
                continue
            if owner is None or (owner, slot.host_id) not in moment.books.allocations:
                yield f"{slot.name} has the domain of {owner}, which has no claim there"


def i2_no_volume_unlisted(moment: Moment) -> Complaints:
    listed = {(one.host_id, one.name) for one in moment.books.volumes}
    for slot in moment.rack.values():
        for name in slot.machine.fake.volumes:
            owner = owner_named(name)
            if owner is None or owner in moment.excused:
                continue
            if (slot.host_id, name) not in listed:
                yield f"{slot.name} has the volume {name}, which no row lists"


def i5_ours_only(moment: Moment) -> Complaints:
    for slot in moment.rack.values():
        machine = slot.machine
        for uuid, as_it_was in machine.foreign_domains.items():
            if machine.fake.domains.get(uuid) != as_it_was:
                yield f"{slot.name}: {as_it_was} became {machine.fake.domains.get(uuid)}"
        for name, volume in machine.foreign_volumes.items():
            if machine.fake.volumes.get(name) != volume:
                yield f"{slot.name}: {volume} became {machine.fake.volumes.get(name)}"


def i8_nobody_waits_for_others(moment: Moment) -> Complaints:
    stuck = find_stuck(
        moment.turns, lag_seconds=0.0, now=moment.now, patience_seconds=PATIENCE_SECONDS
    )
    yield from (part.message for part in stuck)
    for slot in moment.rack.values():
        if slot.well and not slot.is_replaced:
            unseen = moment.now - max(slot.looked_at, slot.well_since, moment.now - moment.uptime)
            if unseen > BLIND_SECONDS:
                yield f"{slot.name} is well and was not looked at for {unseen:.0f} s"


def i9_acknowledged_is_durable(moment: Moment) -> Complaints:
    for sandbox_id in sorted(moment.acknowledged - moment.known):
        yield f"{sandbox_id} was acknowledged and is not there"


def i12_one_guest_a_sandbox(moment: Moment) -> Complaints:
    """Two guests of one sandbox run only while the first one's host is being cleared."""
    running: Counter[str] = Counter()
    for slot in moment.rack.values():
        for domain in slot.machine.ours():
            owner = moment.owners.get(domain.uuid, "")
            claim = moment.books.allocations.get((owner, slot.host_id))
            if domain.active and claim and claim.state is not AllocationState.RELEASING:
                running[owner] += 1
    for owner, guests in running.items():
        if guests > 1:
            yield f"{guests} guests run for {owner}"


BY_STEP: tuple[Callable[[Moment], Complaints], ...] = (
    i2_nothing_without_a_claim,
    i2_no_volume_unlisted,
    i5_ours_only,
    i8_nobody_waits_for_others,
    i9_acknowledged_is_durable,
    i12_one_guest_a_sandbox,
)


def leaks(books: Books, rack: Rack, excused: Collection[str]) -> Complaints:
    """Yield what is left when every sandbox has been destroyed and all is quiet.

    Volumes without a domain are never taken for proof, so those of forgotten sandboxes may stay.
    """
    for slot in rack.values():
        yield from (f"{slot.name} still has domain {one.name}" for one in slot.machine.ours())
        ours = (name for name in slot.machine.fake.volumes if owner_named(name))
        left = (name for name in ours if owner_named(name) not in excused)
        yield from (f"{slot.name} still has volume {name}" for name in left)
    yield from (f"{claim} is still claimed" for claim in books.allocations)
    yield from (f"{one.name} of {one.owner} is still listed" for one in books.volumes)
    yield from (f"{one.id} is still {one.state}" for one in books.sandboxes.values())
    if books.snapshots_in_all:
        yield f"{books.snapshots_in_all} snapshots are still there"
    yield from (f"{one.name} still counts {one.reserved}" for one in _charged(books))


def _charged(books: Books) -> Iterator[HostResources]:
    return (host for host in books.hosts.values() if host.reserved != NOTHING)
