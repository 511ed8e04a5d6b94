"""The one place where statements meet the driver.

A cursor runs prepared statements on a transaction's connection. It works the same over a
synchronous driver and, inside SQLAlchemy's greenlet, over an asynchronous one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select

from scheduler.errors import ReadOnly
from scheduler.store.faults import driver_errors, translate
from scheduler.store.statements import Statement, Statements
from scheduler.store.unreadable import UnreadableRows

Row = Sequence[Any]


class Cursor:
    """Runs statements within one transaction.

    `dirty` says whether anything was written, or failed in the database, since it was last cleared:
    then the transaction is no longer as if the unit of work had never run.
    """

    __slots__ = ("_connection", "_cursor", "_statements", "dirty", "writable")

    def __init__(self, connection: Connection, statements: Statements, *, writable: bool) -> None:
        self._connection = connection
        self._cursor = connection.connection.cursor()
        self._statements = statements
        self.writable = writable
        self.dirty = False

    @property
    def engine(self) -> str:
        """Return `sqlite` or `postgresql`."""
        return self._connection.dialect.name

    @property
    def unreadable(self) -> UnreadableRows:
        """Return where rows are noted that are passed over."""
        return self._statements.unreadable

    def rows(self, statement: Statement, *parameters: Any) -> Sequence[Row]:
        """Return what a select of fixed shape finds."""
        self._execute(statement, parameters)
        return self._cursor.fetchall()

    def row(self, statement: Statement, *parameters: Any) -> Row | None:
        """Return the first row that a select of fixed shape finds."""
        rows = self.rows(statement, *parameters)
        return rows[0] if rows else None

    def search(self, select: Select[Any]) -> Sequence[Row]:
        """Return what a select of varying shape finds."""
        try:
            return self._connection.execute(select).all()
        except driver_errors() as error:
            self.dirty = True
            raise translate(error) from error

    def change(self, statement: Statement, parameters: Sequence[Any]) -> int:
        """Run a write and return how many rows it changed."""
        self._write(statement, parameters)
        count = self._cursor.rowcount
        self.dirty = self.dirty or count > 0
        return count

    def changed(self, statement: Statement, parameters: Sequence[Any]) -> Sequence[Row]:
        """Run a write that returns the rows it changed."""
        self._write(statement, parameters)
        rows = self._cursor.fetchall()
        self.dirty = self.dirty or bool(rows)
        return rows

    def _write(self, statement: Statement, parameters: Sequence[Any]) -> None:
        if not self.writable:
            raise ReadOnly(
                "this store only reads", remedy="Open it for writing, or ask its writer."
            )
        self._execute(statement, parameters)

    def _execute(self, statement: Statement, parameters: Sequence[Any]) -> None:
        prepared = self._statements.prepared(statement)
        try:
            self._cursor.execute(prepared.text, prepared.bind(parameters))
        except driver_errors() as error:
            self.dirty = True
            raise translate(error) from error
