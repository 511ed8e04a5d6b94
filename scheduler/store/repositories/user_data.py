"""User data: what a sandbox's owner wants its guest to read at its first boot.

It has a table of its own, because it may hold secrets: no listing of sandboxes reads it, and it
goes with the burial of its sandbox.
"""

from __future__ import annotations

from sqlalchemy import bindparam, delete, insert, select

from scheduler.store.repositories.repository import Repository
from scheduler.store.statements import Statement
from scheduler.store.tables import USER_DATA
from scheduler.store.values import storable

_GET = Statement(
    select(USER_DATA.c.content).where(USER_DATA.c.sandbox_id == bindparam("owner")), "owner"
)
_ADD = Statement(insert(USER_DATA), "sandbox_id", "content")
_REMOVE = Statement(delete(USER_DATA).where(USER_DATA.c.sandbox_id == bindparam("owner")), "owner")


class UserData(Repository):
    """Texts by the sandbox they are for."""

    __slots__ = ()

    def add(self, sandbox_id: str, content: str) -> None:
        """Keep a new sandbox's user data."""
        self._cursor.change(_ADD, (storable(sandbox_id), storable(content)))

    def get(self, sandbox_id: str) -> str | None:
        """Return a sandbox's user data; None when it has none, or none any more."""
        row = self._cursor.row(_GET, storable(sandbox_id))
        return None if row is None else str(row[0])

    def remove(self, sandbox_id: str) -> None:
        """Forget a sandbox's user data; one without any is fine."""
        self._cursor.change(_REMOVE, (storable(sandbox_id),))
