"""Our volumes: a row before the file, and only what has a row is ever deleted (I5)."""

from __future__ import annotations

from sqlalchemy import bindparam, select, update

from scheduler.model import Sandbox, Volume, VolumeState
from scheduler.store.repositories.repository import Repository, absent
from scheduler.store.statements import Statement, inserted, overwritten, removed, selected
from scheduler.store.tables import VOLUMES

_TABLE = VOLUMES.table
_COLUMNS = _TABLE.c
_KEY = ("host_id", "pool", "name")
_BY_NAME = (_COLUMNS.host_id, _COLUMNS.pool, _COLUMNS.name)

_INSERT = inserted(VOLUMES)
_GET = selected(VOLUMES, *_KEY)
_REMOVE = removed(VOLUMES, *_KEY)
_OVERWRITE = overwritten(VOLUMES, *_KEY, keep=(*_KEY, "owner", "created_at"))
_OF_OWNER = Statement(
    select(_TABLE).where(_COLUMNS.owner == bindparam("of")).order_by(*_BY_NAME), "of"
)
_OF_HOST = Statement(
    select(_TABLE).where(_COLUMNS.host_id == bindparam("of")).order_by(*_BY_NAME), "of"
)
_PLANNED = Statement(
    select(_TABLE)
    .where(_COLUMNS.host_id == bindparam("of"), _COLUMNS.state == VolumeState.PLANNED.value)
    .order_by(*_BY_NAME),
    "of",
)
_ALL = Statement(select(_TABLE).order_by(*_BY_NAME))
_MARK = Statement(
    update(_TABLE)
    .where(*(_COLUMNS[key] == bindparam(f"of_{key}") for key in _KEY))
    .values(state=VolumeState.CREATED.value),
    *(f"of_{key}" for key in _KEY),
)


class Volumes(Repository):
    """The volumes' repository."""

    __slots__ = ()

    def add(self, volume: Volume) -> Volume:
        """List a volume that is about to be created; `AlreadyExists` when it is listed."""
        self._insert(VOLUMES, _INSERT, volume)
        return volume

    def get(self, host_id: str, pool: str, name: str) -> Volume:
        """Return a listed volume; `NotFound` when it is not ours."""
        return self._one(VOLUMES, _GET, host_id, pool, name)

    def of_owner(self, owner: str) -> tuple[Volume, ...]:
        """Return everything listed for an owner, on every host."""
        return self._all(VOLUMES, _OF_OWNER, owner)

    def of_sandbox(self, sandbox: Sandbox) -> tuple[Volume, ...]:
        """Return what is listed for a sandbox on its host, not what a move has left elsewhere."""
        return tuple(one for one in self.of_owner(sandbox.id) if one.host_id == sandbox.host_id)

    def of_host(self, host_id: str) -> tuple[Volume, ...]:
        """Return everything listed on a host."""
        return self._all(VOLUMES, _OF_HOST, host_id)

    def planned(self, host_id: str) -> tuple[Volume, ...]:
        """Return what is listed on a host and not known to be there yet: few, as a rule none."""
        return self._all(VOLUMES, _PLANNED, host_id)

    def all(self) -> tuple[Volume, ...]:
        """Return everything listed on any host."""
        return self._all(VOLUMES, _ALL)

    def mark_created(self, host_id: str, pool: str, name: str) -> None:
        """Say that the host has answered that the volume exists."""
        if not self._cursor.change(_MARK, (host_id, pool, name)):
            raise absent(VOLUMES, host_id, pool, name)

    def replace(self, volume: Volume) -> None:
        """Write what a listed volume is for, what it lies on and whether it is there."""
        key = (volume.host_id, volume.pool, volume.name)
        if not self._cursor.change(_OVERWRITE, [*VOLUMES.row(volume), *key]):
            raise absent(VOLUMES, *key)

    def remove(self, host_id: str, pool: str, name: str) -> None:
        """Take a volume off the list once its absence is proven."""
        if not self._cursor.change(_REMOVE, (host_id, pool, name)):
            raise absent(VOLUMES, host_id, pool, name)
