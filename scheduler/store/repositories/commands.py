"""Commands: durable as RUNNING before the first byte goes out, ended exactly once."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import LargeBinary, bindparam, func, literal, select, update

from scheduler.errors import Conflict, Invalid
from scheduler.model import Command, CommandStatus
from scheduler.store.options import ListOptions, Order, Page
from scheduler.store.repositories.repository import Repository
from scheduler.store.statements import Statement, constant, inserted, overwritten, selected
from scheduler.store.tables import COMMANDS, SANDBOXES
from scheduler.store.values import micros

_COLUMNS = COMMANDS.table.c
_HOST = SANDBOXES.table.c.host_id
_NEVER = (1 << 63) - 1
_RUNNING = CommandStatus.RUNNING.value
_ASKED = ("id", "sandbox_id", "command", "env_json", "started_at", "actor", "kill_requested_at")

_INSERT = inserted(COMMANDS)
_BY_ID = selected(COMMANDS, "id")
_OVERWRITE = overwritten(COMMANDS, "id", "status", keep=_ASKED)
# Without an order, which would have the database read all commands in that of their ids.
_AT_WORK = Statement(select(COMMANDS.table).where(_COLUMNS.status == constant(_RUNNING)))
_PLACES = Statement(
    select(_COLUMNS.sandbox_id, _HOST)
    .join(SANDBOXES.table, SANDBOXES.table.c.id == _COLUMNS.sandbox_id)
    .where(_COLUMNS.status == constant(_RUNNING))
)
_ASK_KILL = Statement(
    update(COMMANDS.table)
    .where(_COLUMNS.id == bindparam("of"), _COLUMNS.status == _RUNNING)
    .values(kill_requested_at=func.coalesce(_COLUMNS.kill_requested_at, bindparam("at"))),
    "at",
    "of",
)
_WITHOUT_OUTPUT = [
    literal(b"", LargeBinary()).label(column.name)
    if column.name in ("stdout", "stderr")
    else column
    for column in _COLUMNS
]
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

    def find(
        self, sandbox_id: str, options: ListOptions | None = None, *, with_output: bool = True
    ) -> Page[Command]:
        """Return a page of a sandbox's commands, newest first unless asked otherwise.

        Without their output, which may be megabytes each, `stdout` and `stderr` are empty.
        Raises `Unreadable`: changes are told by all that ran.
        """
        columns = _COLUMNS if with_output else _WITHOUT_OUTPUT
        query = select(*columns).where(_COLUMNS.sandbox_id == sandbox_id)
        return self._page(COMMANDS, query, _ORDER, options, whole=True)

    def running(self) -> tuple[Command, ...]:
        """Return every command that has not ended, the oldest first."""
        return tuple(sorted(self._readable(COMMANDS, _AT_WORK), key=lambda one: one.id))

    def places(self) -> tuple[tuple[str, str | None], ...]:
        """Return the sandbox and the host of every command that has not ended."""
        return tuple((row[0], row[1]) for row in self._cursor.rows(_PLACES))

    def ask_kill(self, id: str, at: datetime) -> Command:
        """Write that a command is to be ended; one that has ended stays as it is."""
        self._cursor.change(_ASK_KILL, (micros(at), id))
        return self.get(id)

    def finish(self, command: Command) -> Command:
        """Write how a running command ended; what was asked of it stays as it is.

        `Conflict` when it has ended already, whoever said so first was right.
        """
        if command.status is CommandStatus.RUNNING:
            raise Invalid("a finished command is not RUNNING", remedy="Say how it ended.")
        parameters = [*COMMANDS.row(command), command.id, _RUNNING]
        if not self._cursor.change(_OVERWRITE, parameters):
            ended = self.get(command.id)
            raise Conflict(
                f"command {ended.id} has ended already: {ended.status}",
                remedy="Read the command again; it was not changed.",
                details={"status": str(ended.status)},
            )
        return self.get(command.id)
