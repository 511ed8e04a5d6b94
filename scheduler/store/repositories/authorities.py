"""SSH authorities, by their public halves, and which guests and source VMs trust each."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import bindparam, func, select

from scheduler.model import SshAuthority
from scheduler.store.repositories.repository import Repository, absent
from scheduler.store.statements import Statement, inserted, overwritten
from scheduler.store.tables import SANDBOXES, SOURCE_VMS, SSH_AUTHORITIES

MOST = 500
"""Authorities are few; of the retired ones the newest are shown."""

_COLUMNS = SSH_AUTHORITIES.table.c
_SANDBOXES = SANDBOXES.table.c
_MACHINES = SOURCE_VMS.table.c
_INSERT = inserted(SSH_AUTHORITIES)
_OVERWRITE = overwritten(SSH_AUTHORITIES, "id", keep=("id", "created_at", "created_by"))
_ALL = Statement(
    select(SSH_AUTHORITIES.table)
    .order_by(_COLUMNS.created_at.desc(), _COLUMNS.id.desc())
    .limit(bindparam("most")),
    "most",
)
_GUESTS = Statement(
    select(_SANDBOXES.id)
    .where(_SANDBOXES.deleted_at.is_(None), _SANDBOXES.ssh_ca == bindparam("trusted"))
    .order_by(_SANDBOXES.created_at, _SANDBOXES.id)
    .limit(bindparam("most")),
    "trusted",
    "most",
)
_MACHINES_OF = Statement(
    select(_MACHINES.host_name, _MACHINES.name)
    .where(_MACHINES.ca_fingerprint == bindparam("trusted"))
    .order_by(_MACHINES.host_name, _MACHINES.name)
    .limit(bindparam("most")),
    "trusted",
    "most",
)
_COUNT_GUESTS = Statement(
    select(_SANDBOXES.ssh_ca, func.count())
    .where(_SANDBOXES.deleted_at.is_(None), _SANDBOXES.ssh_ca.is_not(None))
    .group_by(_SANDBOXES.ssh_ca)
)
_COUNT_MACHINES = Statement(
    select(_MACHINES.ca_fingerprint, func.count())
    .where(_MACHINES.ca_fingerprint.is_not(None))
    .group_by(_MACHINES.ca_fingerprint)
)


class SshAuthorities(Repository):
    """The authorities' repository."""

    __slots__ = ()

    def add(self, authority: SshAuthority) -> SshAuthority:
        """Write a new one; `AlreadyExists` when another has its key."""
        self._insert(SSH_AUTHORITIES, _INSERT, authority)
        return authority

    def all(self) -> tuple[SshAuthority, ...]:
        """Return them, the newest first."""
        return self._all(SSH_AUTHORITIES, _ALL, MOST)

    def by_reference(self, reference: str) -> SshAuthority:
        """Return the one with this id, or the newest of this name; raises `NotFound`."""
        for one in self.all():
            if reference in (one.id, one.name):
                return one
        raise absent(SSH_AUTHORITIES, reference)

    def replace(self, authority: SshAuthority) -> SshAuthority:
        """Write one over its former self; its age cannot change."""
        parameters = [*SSH_AUTHORITIES.row(authority), authority.id]
        if not self._change(SSH_AUTHORITIES, _OVERWRITE, parameters, authority):
            raise absent(SSH_AUTHORITIES, authority.id)
        return authority

    def guests(self, fingerprint: str, most: int) -> tuple[str, ...]:
        """Return live sandboxes whose guests trust this key and no other, the oldest first."""
        return tuple(str(id) for (id,) in self._cursor.rows(_GUESTS, fingerprint, most))

    def machines(self, fingerprint: str, most: int) -> tuple[str, ...]:
        """Return source VMs that were prepared with this key, as `host/name`."""
        rows = self._cursor.rows(_MACHINES_OF, fingerprint, most)
        return tuple(f"{host}/{name}" if host else str(name) for host, name in rows)

    def guest_counts(self) -> Mapping[str, int]:
        """Return how many live sandboxes trust each key, by its fingerprint."""
        return {str(key): int(count) for key, count in self._cursor.rows(_COUNT_GUESTS)}

    def machine_counts(self) -> Mapping[str, int]:
        """Return how many source VMs were prepared with each key, by its fingerprint."""
        return {str(key): int(count) for key, count in self._cursor.rows(_COUNT_MACHINES)}
