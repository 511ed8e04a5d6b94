"""The statements over the ledger: the guard that never lets a host be oversold stands here (I1).

`CLAIM` compares and adds in one UPDATE, so no row need be read before it. `RECORD` asks for room
but not for an ACTIVE host, `CHARGE` for neither: both are for what is there already.
"""

from __future__ import annotations

from sqlalchemy import BindParameter, and_, bindparam, delete, exists, func, or_, select, update

from scheduler.model import DesiredState, HostState, OnExpire
from scheduler.store.statements import Statement, inserted, selected
from scheduler.store.tables import ALLOCATIONS, HOSTS, SANDBOXES

_ROWS = ALLOCATIONS.table.c
_HOST = HOSTS.table.c
_BOX = SANDBOXES.table.c

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
CHARGE = Statement(_CHARGED, *_AMOUNTS)
RECORD = Statement(_WITHIN_LIMITS, *_AMOUNTS)
CLAIM = Statement(_GUARDED, *_AMOUNTS)
CLAIM_APART = Statement(
    _GUARDED.where(~exists().where(_ROWS.host_id == _HOST.id, _ROWS.anti_affinity_group == _GROUP)),
    *_AMOUNTS,
    "group",
)
GROUP_THERE = Statement(
    select(_ROWS.sandbox_id).where(
        _ROWS.host_id == bindparam("host"), _ROWS.anti_affinity_group == _GROUP
    ),
    "host",
    "group",
)
_ENLARGED = (
    update(HOSTS.table)
    .where(_HOST.id == bindparam("host"))
    .values(
        reserved_storage_mb=_HOST.reserved_storage_mb + _STORAGE,
        generation=_HOST.generation + 1,
    )
)
ENLARGE = Statement(_ENLARGED, "host", "storage_mb")
GROW = Statement(
    _ENLARGED.where(_HOST.reserved_storage_mb + _STORAGE <= _HOST.limit_storage_mb),
    "host",
    "storage_mb",
)
SHRINK = Statement(
    update(HOSTS.table)
    .where(_HOST.id == bindparam("host"))
    .values(
        reserved_storage_mb=_HOST.reserved_storage_mb - _STORAGE,
        generation=_HOST.generation + 1,
    ),
    "host",
    "storage_mb",
)
RESIZE = Statement(
    update(ALLOCATIONS.table)
    .where(_ROWS.sandbox_id == bindparam("sandbox"), _ROWS.host_id == bindparam("host"))
    .values(storage_mb=bindparam("new_storage_mb")),
    "sandbox",
    "host",
    "new_storage_mb",
)
GIVE_BACK = Statement(
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
INSERT = inserted(ALLOCATIONS)
BY_KEY = selected(ALLOCATIONS, "sandbox_id", "host_id")
OF_HOST = Statement(
    select(ALLOCATIONS.table)
    .where(_ROWS.host_id == bindparam("host"))
    .order_by(_ROWS.claimed_at, _ROWS.sandbox_id),
    "host",
)
HOLDERS = Statement(select(_ROWS.sandbox_id).where(_ROWS.host_id == bindparam("host")), "host")
OF_SANDBOX = Statement(
    select(ALLOCATIONS.table)
    .where(_ROWS.sandbox_id == bindparam("sandbox"))
    .order_by(_ROWS.claimed_at, _ROWS.host_id),
    "sandbox",
)
GROUPS = Statement(
    select(_ROWS.host_id, _ROWS.anti_affinity_group)
    .where(_ROWS.anti_affinity_group.is_not(None))
    .order_by(_ROWS.host_id, _ROWS.anti_affinity_group)
)
ALL = Statement(select(ALLOCATIONS.table).order_by(_ROWS.host_id, _ROWS.sandbox_id))
ENDING = Statement(
    select(ALLOCATIONS.table)
    .join(SANDBOXES.table, _BOX.id == _ROWS.sandbox_id)
    .where(
        or_(
            _BOX.desired_state == DesiredState.DESTROYED.value,
            and_(
                _BOX.expires_at <= bindparam("by"),
                # The first end of such a lease stops it and leaves this mark, the next destroys it.
                or_(_BOX.on_expire != OnExpire.STOP.value, _BOX.conditions.contains('"expired"')),
            ),
        )
    )
    .order_by(_ROWS.host_id, _ROWS.sandbox_id),
    "by",
)
SET_STATE = Statement(
    update(ALLOCATIONS.table)
    .where(_ROWS.sandbox_id == bindparam("sandbox"), _ROWS.host_id == bindparam("host"))
    .values(state=bindparam("new_state")),
    "sandbox",
    "host",
    "new_state",
)
DELETE = Statement(
    delete(ALLOCATIONS.table)
    .where(_ROWS.sandbox_id == bindparam("sandbox"), _ROWS.host_id == bindparam("host"))
    .returning(ALLOCATIONS.table),
    "sandbox",
    "host",
)
HELD = Statement(
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
HEAL = Statement(
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
