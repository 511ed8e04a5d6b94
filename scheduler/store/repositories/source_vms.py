"""Source VMs: unique by host and name, since libvirt's names are unique on one host only."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import bindparam, select

from scheduler.errors import Conflict
from scheduler.model import SourceVM
from scheduler.store.options import ListOptions, Order, Page
from scheduler.store.repositories.repository import Repository, absent
from scheduler.store.statements import Statement, inserted, overwritten, selected
from scheduler.store.tables import SOURCE_VMS

_COLUMNS = SOURCE_VMS.table.c
_INSERT = inserted(SOURCE_VMS)
_NAMED = Statement(
    select(SOURCE_VMS.table).where(_COLUMNS.name == bindparam("named")).order_by(_COLUMNS.id),
    "named",
)
_BY_ID = selected(SOURCE_VMS, "id")
_KEEP = ("id", "name", "host_name", "created_at")
_OVERWRITE = overwritten(SOURCE_VMS, "id", keep=_KEEP)
_REPLACE = overwritten(SOURCE_VMS, "id", "generation", keep=_KEEP)
_ALL = Statement(select(SOURCE_VMS.table).order_by(_COLUMNS.id))
_ORDER = Order(
    keys={name: _COLUMNS[name] for name in ("name", "created_at", "updated_at")},
    id=_COLUMNS.id,
    default="name",
    default_asc=True,
)


class SourceVMs(Repository):
    """The source VMs' repository."""

    __slots__ = ()

    def by_name(self, name: str, host_name: str | None = None) -> SourceVM:
        """Return the source VM of this name, on this host if one is given.

        `Conflict` when several hosts have one of the name and none was given.
        """
        found = self._named(name)
        if host_name is not None:
            found = [one for one in found if one.host_name == host_name]
        if not found:
            raise absent(SOURCE_VMS, *(part for part in (host_name, name) if part))
        if len(found) > 1:
            hosts = sorted(one.host_name or "(no host)" for one in found)
            raise Conflict(
                f"several hosts have a source VM {name}: {', '.join(hosts)}",
                remedy="Name the host too.",
                details={"hosts": hosts},
            )
        return found[0]

    def upsert(self, source_vm: SourceVM) -> SourceVM:
        """Write what is known of a source VM; a known one keeps its id and its age.

        An empty host name is none.
        """
        wanted = replace(source_vm, host_name=source_vm.host_name or None)
        for stored in self._named(wanted.name):
            if stored.host_name == wanted.host_name:
                kept = replace(wanted, id=stored.id, created_at=stored.created_at)
                self._cursor.change(_OVERWRITE, [*SOURCE_VMS.row(kept), kept.id])
                return kept
        self._insert(SOURCE_VMS, _INSERT, wanted)
        return wanted

    def get(self, id: str) -> SourceVM:
        """Return a source VM; `NotFound` when there is none."""
        return self._one(SOURCE_VMS, _BY_ID, id)

    def all(self) -> tuple[SourceVM, ...]:
        """Return every source VM that anything is recorded of."""
        return self._all(SOURCE_VMS, _ALL)

    def readable(self) -> tuple[SourceVM, ...]:
        """Return those that can be read: nothing may follow from one that is not there."""
        return self._readable(SOURCE_VMS, _ALL)

    def replace(self, source_vm: SourceVM) -> SourceVM:
        """Write one as it was read but for its changes; `Conflict` when it moved on."""
        written = replace(source_vm, generation=source_vm.generation + 1)
        parameters = [*SOURCE_VMS.row(written), source_vm.id, source_vm.generation]
        if not self._cursor.change(_REPLACE, parameters):
            raise Conflict(
                f"source VM {source_vm.name} was changed meanwhile",
                remedy="Read it again and decide anew.",
            )
        return written

    def find(self, options: ListOptions | None = None) -> Page[SourceVM]:
        """Return a page of the source VMs, by name unless asked otherwise."""
        return self._page(SOURCE_VMS, select(SOURCE_VMS.table), _ORDER, options)

    def _named(self, name: str) -> list[SourceVM]:
        return list(self._all(SOURCE_VMS, _NAMED, name))
