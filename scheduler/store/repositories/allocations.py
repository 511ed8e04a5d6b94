"""The ledger: one guarded statement claims, and nothing ever reads before it (I1).

The rows are the truth. The counters on the host row are their sum, kept by the same transactions so
that a claim compares and adds in one UPDATE; the audit compares both and heals the counters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from scheduler.errors import Conflict, Invalid
from scheduler.model import Allocation, AllocationState, Event, HostResources, HostState, Resources
from scheduler.model.events import SYSTEM
from scheduler.store.repositories import allocation_queries as queries
from scheduler.store.repositories import host_queries
from scheduler.store.repositories.events import Events
from scheduler.store.repositories.repository import Repository, absent
from scheduler.store.tables import ALLOCATIONS, HOSTS
from scheduler.store.values import micros, storable


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """A host whose counters are not the sum of its allocations."""

    host_id: str
    host_name: str
    counted: Resources
    counted_sandboxes: int
    allocated: Resources
    allocated_sandboxes: int


class Allocations(Repository):
    """The ledger's repository."""

    __slots__ = ()

    def claim(self, allocation: Allocation) -> Allocation:
        """Reserve resources on a host, or raise `Conflict`: then nothing may be committed.

        The host must be there, ACTIVE, and have room in every dimension at this moment. `Conflict`
        too when another sandbox of the same anti-affinity group is there, `AlreadyExists` when this
        one is.
        """
        amounts = _amounts(allocation)
        group = allocation.anti_affinity_group
        claimed = (
            self._cursor.change(queries.CLAIM, amounts)
            if group is None
            else self._cursor.change(queries.CLAIM_APART, (*amounts, storable(group)))
        )
        if not claimed:
            raise self._refusal(allocation)
        self._insert(ALLOCATIONS, queries.INSERT, allocation)
        return allocation

    def record(self, allocation: Allocation, *, beyond_limits: bool = False) -> Allocation:
        """Charge a host for what is there already, whether or not it takes new work.

        `Conflict` when its limits do not allow that, unless `beyond_limits`; `Conflict` too when
        another sandbox of the same anti-affinity group is there.
        """
        amounts = _amounts(allocation)
        host = self._one(HOSTS, host_queries.BY_ID, allocation.host_id)
        self._check_group(allocation, host)
        if not self._cursor.change(queries.CHARGE if beyond_limits else queries.RECORD, amounts):
            raise _no_room(host, allocation)
        self._insert(ALLOCATIONS, queries.INSERT, allocation)
        return allocation

    def activate(self, sandbox_id: str, host_id: str) -> None:
        """Say that the host is proven to hold what was claimed."""
        self._set_state(sandbox_id, host_id, AllocationState.ACTIVE)

    def mark_releasing(self, sandbox_id: str, host_id: str) -> None:
        """Say that the sandbox is to leave this host; charged until absence is proven."""
        self._set_state(sandbox_id, host_id, AllocationState.RELEASING)

    def take_back(self, sandbox_id: str, host_id: str) -> None:
        """Say that the sandbox is to end on a host that it was leaving; it stays charged."""
        self._set_state(sandbox_id, host_id, AllocationState.CLAIMED)

    def resize(
        self, sandbox_id: str, host_id: str, storage_mb: int, *, beyond_limits: bool = False
    ) -> Allocation:
        """Have a sandbox hold this much storage on a host, `Conflict` when it has no such room.

        Growing is guarded as a claim is, but for the host's state: its work there is not new. With
        `beyond_limits` it is not: for what is there already.
        """
        held = self.get(sandbox_id, host_id)
        wanted = replace(held, storage_mb=storage_mb)
        _amounts(wanted)
        more = storage_mb - held.storage_mb
        growth = queries.ENLARGE if beyond_limits else queries.GROW
        if more > 0 and not self._cursor.change(growth, (host_id, more)):
            host = self._one(HOSTS, host_queries.BY_ID, host_id)
            raise Conflict(
                f"host {host.name} has no room for this any more",
                remedy="Wait until something is released, or keep less.",
                details={
                    "host_id": host.id,
                    "filter": "storage",
                    "have": host.free.storage_mb,
                    "need": more,
                },
            )
        if more < 0:
            self._cursor.change(queries.SHRINK, (host_id, -more))
        self._cursor.change(queries.RESIZE, (sandbox_id, host_id, storage_mb))
        return wanted

    def release(self, sandbox_id: str, host_id: str) -> Allocation:
        """Give back what a sandbox held on a host, in the same transaction; `NotFound` twice."""
        rows = self._cursor.changed(queries.DELETE, (sandbox_id, host_id))
        if not rows:
            raise absent(ALLOCATIONS, sandbox_id, host_id)
        freed = ALLOCATIONS.entity(rows[0])
        self._cursor.change(
            queries.GIVE_BACK, (host_id, freed.vcpus, freed.memory_mb, freed.storage_mb)
        )
        return freed

    def get(self, sandbox_id: str, host_id: str) -> Allocation:
        """Return what a sandbox holds on a host; `NotFound` when nothing."""
        return self._one(ALLOCATIONS, queries.BY_KEY, sandbox_id, host_id)

    def of_host(self, host_id: str) -> tuple[Allocation, ...]:
        """Return a host's allocations, oldest first."""
        return self._all(ALLOCATIONS, queries.OF_HOST, host_id)

    def holders(self, host_id: str) -> frozenset[str]:
        """Return the sandboxes that hold something on a host; no other column is read."""
        return frozenset(str(row[0]) for row in self._cursor.rows(queries.HOLDERS, host_id))

    def of_sandbox(self, sandbox_id: str) -> tuple[Allocation, ...]:
        """Return a sandbox's allocations, oldest first: two only while it changes host."""
        return self._all(ALLOCATIONS, queries.OF_SANDBOX, sandbox_id)

    def all(self) -> tuple[Allocation, ...]:
        """Return the whole ledger, by host."""
        return self._all(ALLOCATIONS, queries.ALL)

    def ending(self, by: datetime) -> tuple[Allocation, ...]:
        """Return what is to be free by a time: of sandboxes being destroyed, or whose lease ends.

        A lease that stops its sandbox frees nothing, but its second end does.
        """
        return self._all(ALLOCATIONS, queries.ENDING, micros(by))

    def groups(self) -> tuple[tuple[str, str], ...]:
        """Return every host that holds one of a group, with the group; no other column is read."""
        return tuple((str(row[0]), str(row[1])) for row in self._cursor.rows(queries.GROUPS))

    def audit(self, *, heal: bool = False, actor: str = SYSTEM) -> tuple[Discrepancy, ...]:
        """Return the hosts whose counters are not the sum of their rows; `heal` corrects them."""
        hosts = {host.id: host for host in self._all(HOSTS, host_queries.ALL)}
        found = []
        for host_id, sandboxes, *sums in self._cursor.rows(queries.HELD):
            host = hosts[host_id]
            vcpus, memory_mb, storage_mb = map(int, sums)
            allocated = Resources(vcpus=vcpus, memory_mb=memory_mb, storage_mb=storage_mb)
            if (host.reserved, host.reserved_sandboxes) == (allocated, sandboxes):
                continue
            found.append(
                Discrepancy(
                    host_id=host_id,
                    host_name=host.name,
                    counted=host.reserved,
                    counted_sandboxes=host.reserved_sandboxes,
                    allocated=allocated,
                    allocated_sandboxes=sandboxes,
                )
            )
        if heal:
            for discrepancy in found:
                self._heal(discrepancy, actor)
        return tuple(sorted(found, key=lambda one: one.host_name))

    def _heal(self, found: Discrepancy, actor: str) -> None:
        right = found.allocated
        self._cursor.change(
            queries.HEAL,
            (
                found.host_id,
                found.allocated_sandboxes,
                right.vcpus,
                right.memory_mb,
                right.storage_mb,
            ),
        )
        Events(self._cursor, self._clock).add(
            Event(
                at=self._clock.now(),
                kind="ledger.healed",
                actor=actor,
                host_id=found.host_id,
                message="the counters were not the sum of the allocations",
                evidence={
                    "from": _shown(found.counted, found.counted_sandboxes),
                    "to": _shown(found.allocated, found.allocated_sandboxes),
                },
            )
        )

    def _set_state(self, sandbox_id: str, host_id: str, state: AllocationState) -> None:
        if not self._cursor.change(queries.SET_STATE, (sandbox_id, host_id, state.value)):
            raise absent(ALLOCATIONS, sandbox_id, host_id)

    def _refusal(self, wanted: Allocation) -> Conflict:
        host = self._maybe(HOSTS, host_queries.BY_ID, wanted.host_id)
        if host is None:
            return Conflict(
                f"host {wanted.host_id} is not in the fleet any more",
                remedy="Choose another host.",
                details={"filter": "state", "host_id": wanted.host_id},
            )
        if host.state is not HostState.ACTIVE:
            return Conflict(
                f"host {host.name} is {host.state} and takes no new work",
                remedy="Choose another host, or uncordon this one.",
                details={"filter": "state", "host_id": host.id, "state": str(host.state)},
            )
        self._check_group(wanted, host)
        return _no_room(host, wanted)

    def _check_group(self, wanted: Allocation, host: HostResources) -> None:
        group = wanted.anti_affinity_group
        if group is not None and self._cursor.row(queries.GROUP_THERE, host.id, group) is not None:
            raise Conflict(
                f"another sandbox of group {group!r} is on host {host.name}",
                remedy="Choose another host for it.",
                details={"filter": "anti_affinity", "host_id": host.id},
            )


def _amounts(allocation: Allocation) -> tuple[str, int, int, int]:
    if min(allocation.vcpus, allocation.memory_mb, allocation.storage_mb) < 0:
        raise Invalid("a claim cannot be negative", remedy="Release what is held instead.")
    return (
        allocation.host_id,
        allocation.vcpus,
        allocation.memory_mb,
        allocation.storage_mb,
    )


def _no_room(host: HostResources, wanted: Allocation) -> Conflict:
    short = _shortage(host, wanted.resources)
    return Conflict(
        f"host {host.name} has no room for this any more",
        remedy="Choose another host, or wait until something is released.",
        details={"host_id": host.id, **short},
    )


def _shortage(host: HostResources, wanted: Resources) -> Mapping[str, object]:
    free = host.free
    for name, have, need in (
        ("cpu", free.vcpus, wanted.vcpus),
        ("memory", free.memory_mb, wanted.memory_mb),
        ("storage", free.storage_mb, wanted.storage_mb),
    ):
        if need > have:
            return {"filter": name, "have": have, "need": need}
    return {"filter": "limits", "have": host.limit_sandboxes, "need": host.reserved_sandboxes + 1}


def _shown(resources: Resources, sandboxes: int) -> dict[str, int]:
    return {
        "sandboxes": sandboxes,
        "vcpus": resources.vcpus,
        "memory_mb": resources.memory_mb,
        "storage_mb": resources.storage_mb,
    }
