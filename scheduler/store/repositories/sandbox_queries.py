"""The statements over sandboxes, and what a listing of them may ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, bindparam, func, or_, select, update

from scheduler.model import DesiredState, Sandbox, SandboxState
from scheduler.store.labels import labelled
from scheduler.store.options import Order
from scheduler.store.statements import Statement, inserted, overwritten, selected
from scheduler.store.tables import ALLOCATIONS, SANDBOXES

_TABLE = SANDBOXES.table
_COLUMNS = _TABLE.c
_LIVE = _COLUMNS.deleted_at.is_(None)
_OLDEST_FIRST = (_COLUMNS.created_at, _COLUMNS.id)

# A sandbox on its way out needs no reaping.
_LEASED = and_(
    _LIVE,
    _COLUMNS.expires_at.is_not(None),
    _COLUMNS.desired_state != DesiredState.DESTROYED.value,
)
_PARKED = and_(
    _COLUMNS.state == SandboxState.ERROR.value,
    _COLUMNS.desired_state == DesiredState.RUNNING.value,
)

INSERT = inserted(SANDBOXES)
BY_ID = selected(SANDBOXES, "id")
BY_NAME = Statement(select(_TABLE).where(_COLUMNS.sandbox_name == bindparam("name"), _LIVE), "name")
OVERWRITE = overwritten(SANDBOXES, "id", "generation", keep=("id", "created_at"))
LIVE = Statement(select(_TABLE).where(_LIVE).order_by(*_OLDEST_FIRST))
OF_HOST = Statement(
    select(_TABLE).where(_COLUMNS.host_id == bindparam("host"), _LIVE).order_by(*_OLDEST_FIRST),
    "host",
)
OF_ADDRESS = Statement(
    select(_TABLE)
    .where(
        _COLUMNS.host_id == bindparam("host"),
        _COLUMNS.network == bindparam("network"),
        _COLUMNS.ip_address == bindparam("address"),
        _LIVE,
    )
    .order_by(*_OLDEST_FIRST),
    "host",
    "network",
    "address",
)
BOOTING_ON = Statement(
    select(_TABLE).where(
        _COLUMNS.host_id == bindparam("host"),
        _LIVE,
        _COLUMNS.state == SandboxState.STARTING.value,
        _COLUMNS.desired_state == DesiredState.RUNNING.value,
    ),
    "host",
)
DUE = Statement(
    select(_TABLE)
    .where(_LEASED, _COLUMNS.expires_at <= bindparam("now"))
    .order_by(_COLUMNS.expires_at, _COLUMNS.id)
    .limit(bindparam("most")),
    "now",
    "most",
)
COUNTS = Statement(
    select(_COLUMNS.host_id, _COLUMNS.state, func.count())
    .where(_LIVE)
    .group_by(_COLUMNS.host_id, _COLUMNS.state)
)
NEXT_EXPIRY = Statement(
    select(func.min(_COLUMNS.expires_at)).where(_LEASED, _COLUMNS.expires_at > bindparam("after")),
    "after",
)
UNSETTLED = Statement(
    select(_TABLE)
    .where(
        _LIVE,
        or_(
            _COLUMNS.phase.is_not(None),
            _COLUMNS.move_asked_at.is_not(None),
            and_(_COLUMNS.desired_state != _COLUMNS.state, ~_PARKED),
        ),
    )
    .order_by(*_OLDEST_FIRST)
)
SHIFT = Statement(
    update(_TABLE)
    .where(_LIVE, _COLUMNS.expires_at.is_not(None))
    .values(
        expires_at=_COLUMNS.expires_at + bindparam("delta"),
        generation=_COLUMNS.generation + 1,
        revision=_COLUMNS.revision + 1,
    ),
    "delta",
)
HELD = Statement(
    select(ALLOCATIONS.table.c.host_id).where(
        ALLOCATIONS.table.c.sandbox_id == bindparam("sandbox")
    ),
    "sandbox",
)

ORDER = Order(
    keys={name: _COLUMNS[name] for name in ("created_at", "updated_at", "sandbox_name")},
    id=_COLUMNS.id,
    default="created_at",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The live sandboxes on a host; `unreadable` has the domains of those that cannot be read."""

    sandboxes: tuple[Sandbox, ...]
    unreadable: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxFilter:
    """The seed's SandboxFilter, and more; everything given must hold.

    Tombstones are found with `include_deleted`, and by asking for the state DESTROYED.
    """

    agent_id: str | None = None
    job_id: str | None = None
    base_image: str | None = None
    state: SandboxState | None = None
    vm_name: str | None = None
    host_id: str | None = None
    desired_state: DesiredState | None = None
    labels: Mapping[str, str] | None = None
    id_prefix: str | None = None
    include_deleted: bool = False


_FIELDS = {
    "agent_id": "agent_id",
    "job_id": "job_id",
    "base_image": "base_image",
    "state": "state",
    "vm_name": "sandbox_name",
    "host_id": "host_id",
    "desired_state": "desired_state",
}


def matching(filter: SandboxFilter, engine: str) -> Select[Any]:
    """Return the search for what the filter describes."""
    query = select(_TABLE)
    for field, column in _FIELDS.items():
        if (value := getattr(filter, field)) is not None:
            query = query.where(_COLUMNS[column] == SANDBOXES.encode(column, value))
    if filter.id_prefix is not None:
        query = query.where(_COLUMNS.id.startswith(filter.id_prefix, autoescape=True))
    if filter.labels:
        SANDBOXES.encode("labels", filter.labels)
        query = query.where(labelled(_COLUMNS.labels, filter.labels, engine))
    if not filter.include_deleted and filter.state is not SandboxState.DESTROYED:
        query = query.where(_LIVE)
    return query
