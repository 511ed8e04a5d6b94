"""Consoles: what was heard of each sandbox's latest boot, written over as more is heard."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, func, select

from scheduler.model import Console
from scheduler.store.repositories.repository import Repository
from scheduler.store.statements import Statement, inserted, overwritten, selected
from scheduler.store.tables import CONSOLES
from scheduler.store.values import micros

_COLUMNS = CONSOLES.table.c
_INSERT = inserted(CONSOLES)
_GET = selected(CONSOLES, "sandbox_id")
_OVERWRITE = overwritten(CONSOLES, "sandbox_id", keep=("sandbox_id",))
_UNENDED = Statement(select(CONSOLES.table).where(_COLUMNS.ended_at.is_(None)))
_PRINTED = Statement(
    select(_COLUMNS.sandbox_id).where(
        _COLUMNS.sandbox_id == bindparam("of"),
        _COLUMNS.boot_at == bindparam("boot"),
        func.length(_COLUMNS.printed) > 0,
    ),
    "of",
    "boot",
)


class Consoles(Repository):
    """The consoles' repository."""

    __slots__ = ()

    def get(self, sandbox_id: str) -> Console | None:
        """Return the console of a sandbox's latest boot that was listened to, if one is kept."""
        return self._maybe(CONSOLES, _GET, sandbox_id)

    def has_text(self, sandbox_id: str, boot_at: datetime) -> bool:
        """Return whether anything is kept of what was printed during this boot."""
        return self._cursor.row(_PRINTED, sandbox_id, micros(boot_at)) is not None

    def unended(self) -> tuple[Console, ...]:
        """Return those that somebody listened to when last heard of."""
        return self._readable(CONSOLES, _UNENDED)

    def put(self, console: Console) -> Console:
        """Write what was heard over what was kept of the sandbox before."""
        parameters = [*CONSOLES.row(console), console.sandbox_id]
        if not self._change(CONSOLES, _OVERWRITE, parameters, console):
            self._insert(CONSOLES, _INSERT, console)
        return console
