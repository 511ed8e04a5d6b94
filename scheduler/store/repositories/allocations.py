"""The ledger: one guarded statement claims, and nothing ever reads before it (I1).

The rows are the truth. The counters on the host row are their sum, kept by the same transactions so
that a claim compares and adds in one UPDATE; the audit compares both and heals the counters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import BindParameter, bindparam, delete, exists, func, or_, select, update

from scheduler.errors import Conflict, Invalid
from scheduler.model import Allocation, AllocationState, Event, HostResources, HostState, Resources
from scheduler.model.events import SYSTEM
from scheduler.store.repositories import host_queries
from scheduler.store.repositories.events import Events
from scheduler.store.repositories.repository import Repository, absent
from scheduler.store.statements import Statement, inserted, selected
from scheduler.store.tables import ALLOCATIONS, HOSTS
from scheduler.store.values import storable

_ROWS = ALLOCATIONS.table.c
_HOST = HOSTS.table.c

_CPUS: BindParameter[int] = bindparam("vcpus")
_MEMORY: BindParameter[int] = bindparam("memory_mb")
_STORAGE: BindParameter[int] = bindparam("storage_mb")

_GROUP: BindParameter[str] = bindparam("group")

_AMOUNTS = ("host", "vcpus", "memory_mb", "storage_mb")
_CHARGED = (
    update(HOSTS.table)
    .where(_HOST.id == bindparam("host"))
    .values(
        reserved_cpus=_HOST.reserved_cpus + _CPUS,
        reserved_memory_mb=_HOST.reserved_memory_mb + _MEMORY,
        reserved_storage_mb=_HOST.reserved_storage_mb + _STORAGE,
        reserved_sandboxes=_HOST.reserved_sandboxes + 1,
        generation=_HOST.generation + 1,
    )
)
_WITHIN_LIMITS = _CHARGED.where(
    _HOST.reserved_cpus + _CPUS <= _HOST.limit_cpus,
    _HOST.reserved_memory_mb + _MEMORY <= _HOST.limit_memory_mb,
    _HOST.reserved_storage_mb + _STORAGE <= _HOST.limit_storage_mb,
    or_(_HOST.limit_sandboxes.is_(None), _HOST.reserved_sandboxes < _HOST.limit_sandboxes),
)
_GUARDED = _WITHIN_LIMITS.where(_HOST.state == HostState.ACTIVE.value)
_CHARGE = Statement(_CHARGED, *_AMOUNTS)
_RECORD = Statement(_WITHIN_LIMITS, *_AMOUNTS)
_CLAIM = Statement(_GUARDED, *_AMOUNTS)
_CLAIM_APART = Statement(
    _GUARDED.where(~exists().where(_ROWS.host_id == _HOST.id, _ROWS.anti_affinity_group == _GROUP)),
    *_AMOUNTS,
    "group",
)
_GROUP_THERE = Statement(
    select(_ROWS.sandbox_id).where(
        _ROWS.host_id == bindparam("host"), _ROWS.anti_affinity_group == _GROUP
    ),
    "host",
    "group",
)
_GIVE_BACK = Statement(
    update(HOSTS.table)
    .where(_HOST.id == bindparam("host"))
    .values(
        reserved_cpus=_HOST.reserved_cpus - _CPUS,
        reserved_memory_mb=_HOST.reserved_memory_mb - _MEMORY,
        reserved_storage_mb=_HOST.reserved_storage_mb - _STORAGE,
        reserved_sandboxes=_HOST.reserved_sandboxes - 1,
        generation=_HOST.generation + 1,
    ),
    "host",
    "vcpus",
    "memory_mb",
    "storage_mb",
)
_INSERT = inserted(ALLOCATIONS)
_BY_KEY = selected(ALLOCATIONS, "sandbox_id", "host_id")
_OF_HOST = Statement(
    select(ALLOCATIONS.table)
    .where(_ROWS.host_id == bindparam("host"))
    .order_by(_ROWS.claimed_at, _ROWS.sandbox_id),
    "host",
)
_OF_SANDBOX = Statement(
    select(ALLOCATIONS.table)
    .where(_ROWS.sandbox_id == bindparam("sandbox"))
    .order_by(_ROWS.claimed_at, _ROWS.host_id),
    "sandbox",
)
_ALL = Statement(select(ALLOCATIONS.table).order_by(_ROWS.host_id, _ROWS.sandbox_id))
_SET_STATE = Statement(
    update(ALLOCATIONS.table)
    .where(_ROWS.sandbox_id == bindparam("sandbox"), _ROWS.host_id == bindparam("host"))
    .values(state=bindparam("new_state")),
    "sandbox",
    "host",
    "new_state",
)
_DELETE = Statement(
    delete(ALLOCATIONS.table)
    .where(_ROWS.sandbox_id == bindparam("sandbox"), _ROWS.host_id == bindparam("host"))
    .returning(ALLOCATIONS.table),
    "sandbox",
    "host",
)
_HELD = Statement(
    select(
        _HOST.id,
        func.count(_ROWS.sandbox_id),
        func.coalesce(func.sum(_ROWS.vcpus), 0),
        func.coalesce(func.sum(_ROWS.memory_mb), 0),
        func.coalesce(func.sum(_ROWS.storage_mb), 0),
    )
    .select_from(HOSTS.table.outerjoin(ALLOCATIONS.table, _ROWS.host_id == _HOST.id))
    .group_by(_HOST.id)
)
_HEAL = Statement(
    update(HOSTS.table)
    .where(_HOST.id == bindparam("host"))
    .values(
        reserved_sandboxes=bindparam("sandboxes"),
        reserved_cpus=_CPUS,
        reserved_memory_mb=_MEMORY,
        reserved_storage_mb=_STORAGE,
        generation=_HOST.generation + 1,
    ),
    "host",
    "sandboxes",
    "vcpus",
    "memory_mb",
    "storage_mb",
)


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

        The host must be ACTIVE and have room in every dimension at this moment. `Conflict` too when
        another sandbox of the same anti-affinity group is there, `AlreadyExists` when this one is.
        """
        amounts = _amounts(allocation)
        group = allocation.anti_affinity_group
        claimed = (
            self._cursor.change(_CLAIM, amounts)
            if group is None
            else self._cursor.change(_CLAIM_APART, (*amounts, storable(group)))
        )
        if not claimed:
            raise self._refusal(allocation)
        self._insert(ALLOCATIONS, _INSERT, allocation)
        return allocation

    def record(self, allocation: Allocation, *, beyond_limits: bool = False) -> Allocation:
        """Charge a host for what is there already, whether or not it takes new work.

        `Conflict` when its limits do not allow that, unless `beyond_limits`; `Conflict` too when
        another sandbox of the same anti-affinity group is there.
        """
        amounts = _amounts(allocation)
        host = self._one(HOSTS, host_queries.BY_ID, allocation.host_id)
        self._check_group(allocation, host)
        if not self._cursor.change(_CHARGE if beyond_limits else _RECORD, amounts):
            raise _no_room(host, allocation)
        self._insert(ALLOCATIONS, _INSERT, allocation)
        return allocation

    def activate(self, sandbox_id: str, host_id: str) -> None:
        """Say that the host is proven to hold what was claimed."""
        self._set_state(sandbox_id, host_id, AllocationState.ACTIVE)

    def mark_releasing(self, sandbox_id: str, host_id: str) -> None:
        """Say that the sandbox is to leave this host; charged until absence is proven."""
        self._set_state(sandbox_id, host_id, AllocationState.RELEASING)

    def release(self, sandbox_id: str, host_id: str) -> Allocation:
        """Give back what a sandbox held on a host, in the same transaction; `NotFound` twice."""
        rows = self._cursor.changed(_DELETE, (sandbox_id, host_id))
        if not rows:
            raise absent(ALLOCATIONS, sandbox_id, host_id)
        freed = ALLOCATIONS.entity(rows[0])
        self._cursor.change(_GIVE_BACK, (host_id, freed.vcpus, freed.memory_mb, freed.storage_mb))
        return freed

    def get(self, sandbox_id: str, host_id: str) -> Allocation:
        """Return what a sandbox holds on a host; `NotFound` when nothing."""
        return self._one(ALLOCATIONS, _BY_KEY, sandbox_id, host_id)

    def of_host(self, host_id: str) -> tuple[Allocation, ...]:
        """Return a host's allocations, oldest first."""
        return self._all(ALLOCATIONS, _OF_HOST, host_id)

    def of_sandbox(self, sandbox_id: str) -> tuple[Allocation, ...]:
        """Return a sandbox's allocations, oldest first: two only while it changes host."""
        return self._all(ALLOCATIONS, _OF_SANDBOX, sandbox_id)

    def all(self) -> tuple[Allocation, ...]:
        """Return the whole ledger, by host."""
        return self._all(ALLOCATIONS, _ALL)

    def audit(self, *, heal: bool = False, actor: str = SYSTEM) -> tuple[Discrepancy, ...]:
        """Return the hosts whose counters are not the sum of their rows; `heal` corrects them."""
        hosts = {host.id: host for host in self._all(HOSTS, host_queries.ALL)}
        found = []
        for host_id, sandboxes, *sums in self._cursor.rows(_HELD):
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
            _HEAL,
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
        if not self._cursor.change(_SET_STATE, (sandbox_id, host_id, state.value)):
            raise absent(ALLOCATIONS, sandbox_id, host_id)

    def _refusal(self, wanted: Allocation) -> Conflict:
        host = self._one(HOSTS, host_queries.BY_ID, wanted.host_id)
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
        if group is not None and self._cursor.row(_GROUP_THERE, host.id, group) is not None:
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
