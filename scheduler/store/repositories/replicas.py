"""Replicas: one row an image and host, and every write names the one it has read."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import bindparam, select

from scheduler.errors import Conflict
from scheduler.model import Replica
from scheduler.store.repositories.repository import Repository
from scheduler.store.statements import Statement, inserted, overwritten, removed, selected
from scheduler.store.tables import REPLICAS

_TABLE = REPLICAS.table
_COLUMNS = _TABLE.c
_KEY = ("image_id", "host_id")
_ORDER = (_COLUMNS.image_id, _COLUMNS.host_id)

_INSERT = inserted(REPLICAS)
_GET = selected(REPLICAS, *_KEY)
_OF_IMAGE = Statement(
    select(_TABLE).where(_COLUMNS.image_id == bindparam("of")).order_by(*_ORDER), "of"
)
_OF_HOST = Statement(
    select(_TABLE).where(_COLUMNS.host_id == bindparam("of")).order_by(*_ORDER), "of"
)
_ALL = Statement(select(_TABLE).order_by(*_ORDER))
_OVERWRITE = overwritten(REPLICAS, *_KEY, "generation", keep=(*_KEY, "created_at"))
_REMOVE = removed(REPLICAS, *_KEY, "generation")


class Replicas(Repository):
    """The replicas' repository."""

    __slots__ = ()

    def add(self, replica: Replica) -> Replica:
        """Write a new wish; `AlreadyExists` when the host has a row for the image."""
        self._insert(REPLICAS, _INSERT, replica)
        return replica

    def get(self, image_id: str, host_id: str) -> Replica | None:
        """Return an image's replica on a host, if there is a row for one."""
        return self._maybe(REPLICAS, _GET, image_id, host_id)

    def of_image(self, image_id: str) -> tuple[Replica, ...]:
        """Return every host's replica of an image."""
        return self._all(REPLICAS, _OF_IMAGE, image_id)

    def of_host(self, host_id: str) -> tuple[Replica, ...]:
        """Return every replica on a host."""
        return self._all(REPLICAS, _OF_HOST, host_id)

    def all(self) -> tuple[Replica, ...]:
        """Return every replica on every host."""
        return self._all(REPLICAS, _ALL)

    def readable(self) -> tuple[Replica, ...]:
        """Return those that can be read: nothing may follow from one that is not there."""
        return self._readable(REPLICAS, _ALL)

    def replace(self, replica: Replica) -> Replica:
        """Write a replica as it was read but for its changes; `Conflict` when it has moved on."""
        written = replace(replica, generation=replica.generation + 1)
        parameters = [
            *REPLICAS.row(written),
            replica.image_id,
            replica.host_id,
            replica.generation,
        ]
        if not self._cursor.change(_OVERWRITE, parameters):
            raise _moved_on(replica)
        return written

    def remove(self, replica: Replica) -> None:
        """Strike a replica off once its absence is proven; `Conflict` when it has moved on."""
        key = (replica.image_id, replica.host_id, replica.generation)
        if not self._cursor.change(_REMOVE, key):
            raise _moved_on(replica)


def _moved_on(replica: Replica) -> Conflict:
    return Conflict(
        f"the replica {replica.volume} was changed meanwhile",
        remedy="Read it again and decide anew.",
    )
