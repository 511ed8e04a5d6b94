"""Commands: durable as RUNNING before the first byte goes out, ended exactly once."""

from __future__ import annotations

from sqlalchemy import func, select

from scheduler.errors import Conflict, Invalid
from scheduler.model import Command, CommandStatus
from scheduler.store.options import ListOptions, Order, Page
from scheduler.store.repositories.repository import Repository
from scheduler.store.statements import inserted, overwritten, selected
from scheduler.store.tables import COMMANDS

_COLUMNS = COMMANDS.table.c
_NEVER = (1 << 63) - 1
_ASKED = ("id", "sandbox_id", "command", "env_json", "started_at", "metadata")

_INSERT = inserted(COMMANDS)
_BY_ID = selected(COMMANDS, "id")
_OVERWRITE = overwritten(COMMANDS, "id", "status", keep=_ASKED)
_ORDER = Order(
    keys={
        "started_at": _COLUMNS.started_at,
        # What still runs ends after everything that has ended.
        "ended_at": func.coalesce(_COLUMNS.ended_at, _NEVER),
    },
    id=_COLUMNS.id,
    default="started_at",
)


class Commands(Repository):
    """The commands' repository."""

    __slots__ = ()

    def add(self, command: Command) -> Command:
        """Write a command, running or already ended."""
        self._insert(COMMANDS, _INSERT, command)
        return command

    def get(self, id: str) -> Command:
        """Return a command; `NotFound` when there is none."""
        return self._one(COMMANDS, _BY_ID, id)

    def find(self, sandbox_id: str, options: ListOptions | None = None) -> Page[Command]:
        """Return a page of a sandbox's commands, newest first unless asked otherwise."""
        query = select(COMMANDS.table).where(_COLUMNS.sandbox_id == sandbox_id)
        return self._page(COMMANDS, query, _ORDER, options)

    def finish(self, command: Command) -> Command:
        """Write how a running command ended: status, code, time and output, nothing else of it.

        `Conflict` when it has ended already, whoever said so first was right.
        """
        if command.status is CommandStatus.RUNNING:
            raise Invalid("a finished command is not RUNNING", remedy="Say how it ended.")
        parameters = [*COMMANDS.row(command), command.id, CommandStatus.RUNNING.value]
        if not self._cursor.change(_OVERWRITE, parameters):
            ended = self.get(command.id)
            raise Conflict(
                f"command {ended.id} has ended already: {ended.status}",
                remedy="Read the command again; it was not changed.",
                details={"status": str(ended.status)},
            )
        return self.get(command.id)
