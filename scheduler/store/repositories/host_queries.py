"""The statements over hosts, and what a listing of them may ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, bindparam, func, select

from scheduler.model import HostHealth, HostState
from scheduler.store.labels import labelled
from scheduler.store.options import Order
from scheduler.store.statements import Statement, inserted, overwritten, removed, selected
from scheduler.store.tables import ALLOCATIONS, HOSTS, SANDBOXES, VOLUMES

_TABLE = HOSTS.table
_COLUMNS = _TABLE.c

COUNTERS = ("reserved_cpus", "reserved_memory_mb", "reserved_storage_mb", "reserved_sandboxes")
"""What only claims and releases write."""

INSERT = inserted(HOSTS)
BY_ID = selected(HOSTS, "id")
BY_NAME = selected(HOSTS, "name")
OF_MACHINE = selected(HOSTS, "host_uuid")
ALL = Statement(select(_TABLE).order_by(_COLUMNS.name, _COLUMNS.id))
OVERWRITE = overwritten(HOSTS, "id", "generation", keep=("id", "created_at", *COUNTERS))
REMOVE = removed(HOSTS, "id")
CLAIMS = Statement(
    select(func.count()).where(ALLOCATIONS.table.c.host_id == bindparam("host")), "host"
)
PLACED = Statement(
    select(func.count()).where(
        SANDBOXES.table.c.host_id == bindparam("host"), SANDBOXES.table.c.deleted_at.is_(None)
    ),
    "host",
)
LISTED = Statement(select(func.count()).where(VOLUMES.table.c.host_id == bindparam("host")), "host")

ORDER = Order(
    keys={
        "created_at": func.coalesce(_COLUMNS.created_at, 0),
        "updated_at": _COLUMNS.updated_at,
        "name": _COLUMNS.name,
    },
    id=_COLUMNS.id,
    default="created_at",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFilter:
    """Which hosts; everything given must hold."""

    state: HostState | None = None
    health: HostHealth | None = None
    labels: Mapping[str, str] | None = None


def matching(filter: HostFilter, engine: str) -> Select[Any]:
    """Return the search for what the filter describes."""
    query = select(_TABLE)
    for name in ("state", "health"):
        if (value := getattr(filter, name)) is not None:
            query = query.where(_COLUMNS[name] == HOSTS.encode(name, value))
    if filter.labels:
        HOSTS.encode("labels", filter.labels)
        query = query.where(labelled(_COLUMNS.labels, filter.labels, engine))
    return query
