"""What the daemon remembers about itself: cluster id, clock offset, boot id."""

from __future__ import annotations

from sqlalchemy import bindparam, insert, select, update

from scheduler.store.repositories.repository import Repository
from scheduler.store.statements import Statement
from scheduler.store.tables import SETTINGS
from scheduler.store.values import storable

_GET = Statement(select(SETTINGS.c.value).where(SETTINGS.c.key == bindparam("name")), "name")
_ADD = Statement(insert(SETTINGS), "key", "value")
_SET = Statement(
    update(SETTINGS)
    .where(SETTINGS.c.key == bindparam("name"))
    .values(value=bindparam("new_value")),
    "name",
    "new_value",
)


class Settings(Repository):
    """Texts by name."""

    __slots__ = ()

    def get(self, name: str) -> str | None:
        """Return the text of this name, or None when it was never put."""
        row = self._cursor.row(_GET, storable(name))
        return None if row is None else str(row[0])

    def put(self, name: str, value: str) -> None:
        """Keep a text under a name, over what was there."""
        if not self._cursor.change(_SET, (storable(name), storable(value))):
            self._cursor.change(_ADD, (name, value))

    def raise_to(self, name: str, number: int) -> None:
        """Keep a number under a name unless one as high is there already."""
        kept = self.get(name)
        if kept is None or int(kept) < number:
            self.put(name, str(number))

    def ensure(self, name: str, value: str) -> str:
        """Return the text of this name, after putting `value` if there was none."""
        kept = self.get(name)
        if kept is None:
            self.put(name, value)
        return value if kept is None else kept
