"""The writer's own thread: waiting units share one transaction, one commit, one fsync.

Units of a batch run one after the other without savepoints, which would double the cost. When one
fails after it wrote, the batch is rolled back and every unit runs again in a transaction of its
own, so each caller gets its own answer; that is why a unit must be a function of its transaction
alone. One that is refused before it changed anything, as most are, spoils nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from scheduler.clock import Clock
from scheduler.errors import SandboxdError
from scheduler.store.faults import again, driver_errors, of_medium, translate, uncertain
from scheduler.store.gate import Gate
from scheduler.store.statements import Statements
from scheduler.store.transaction import Transaction

T = TypeVar("T")
Unit = Callable[[Transaction], T]


@dataclass(frozen=True, slots=True)
class Done:
    """A unit that is committed, and what it returned."""

    value: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """A unit of which nothing is committed, and why."""

    error: Exception


Outcome = Done | Failed


class _Spoilt(Exception):
    """A unit failed after it wrote: its whole batch must be rolled back."""


class Committer:
    """Runs units on the one connection that writes; used from one thread only."""

    def __init__(self, engine: Engine, statements: Statements, clock: Clock, gate: Gate) -> None:
        self._engine = engine
        self._gate = gate
        self._statements = statements
        self._clock = clock
        self._connection: Connection | None = None
        self._transaction: Transaction | None = None

    def commit(self, units: Sequence[Unit[Any]]) -> list[Outcome]:
        """Run and commit all units; each gets an outcome of its own, in order."""
        try:
            return self._together(units)
        except _Spoilt as spoilt:
            if len(units) == 1:
                return [Failed(_cause(spoilt))]
        except SandboxdError as error:
            if len(units) == 1 or of_medium(error):
                return [Failed(again(error)) for _ in units]
        return self._one_by_one(units)

    def close(self) -> None:
        """Close the connection."""
        self._drop()

    def _together(self, units: Sequence[Unit[Any]]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        with self._begun() as transaction:
            cursor = transaction.cursor
            for unit in units:
                cursor.dirty = False
                try:
                    outcomes.append(Done(unit(transaction)))
                except Exception as error:
                    if cursor.dirty:
                        raise _Spoilt from error
                    outcomes.append(Failed(error))
        return outcomes

    def _one_by_one(self, units: Sequence[Unit[Any]]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for unit in units:
            try:
                outcomes += self._together([unit])
            except _Spoilt as spoilt:
                outcomes.append(Failed(_cause(spoilt)))
            except SandboxdError as error:
                outcomes.append(Failed(error))
            last = outcomes[-1]
            if isinstance(last, Failed) and of_medium(last.error):
                # The rest would only wait for the same fault, one timeout each.
                rest = len(units) - len(outcomes)
                return outcomes + [Failed(again(last.error)) for _ in range(rest)]
        return outcomes

    @contextmanager
    def _begun(self) -> Iterator[Transaction]:
        """Yield a transaction that is committed at the end, unless an exception leaves."""
        connection, transaction = self._begin()
        try:
            yield transaction
        except BaseException:
            self._roll_back(connection)
            raise
        try:
            connection.commit()
        except driver_errors() as error:
            # A transaction whose commit failed is in a state that no driver agrees on.
            self._drop()
            raise uncertain(translate(error)) from error

    def _begin(self) -> tuple[Connection, Transaction]:
        reused = self._connection is not None
        try:
            return self._connect()
        except driver_errors() as error:
            lost = self._is_lost()
            self._drop()
            if not (reused and lost):
                raise translate(error) from error
        # The server went away while the connection lay idle: nothing was lost, ask once more.
        try:
            return self._connect()
        except driver_errors() as error:
            self._drop()
            raise translate(error) from error

    def _connect(self) -> tuple[Connection, Transaction]:
        if self._connection is None or self._transaction is None:
            self._connection = self._engine.connect()
            self._connection.begin()
            self._transaction = Transaction(
                self._connection, self._statements, self._clock, writable=True
            )
        else:
            self._connection.begin()
        try:
            self._gate.enter(self._connection)
        except SandboxdError:
            self._drop()
            raise
        return self._connection, self._transaction

    def _is_lost(self) -> bool:
        if self._connection is None or self._connection.invalidated:
            return True
        return bool(getattr(self._connection.connection.driver_connection, "closed", False))

    def _roll_back(self, connection: Connection) -> None:
        with suppress(*driver_errors()):
            connection.rollback()
            if not self._is_lost():
                return
        self._drop()

    def _drop(self) -> None:
        connection, self._connection, self._transaction = self._connection, None, None
        if connection is not None:
            connection.invalidate()
            connection.close()


def _cause(spoilt: _Spoilt) -> Exception:
    cause = spoilt.__cause__
    return cause if isinstance(cause, Exception) else spoilt
