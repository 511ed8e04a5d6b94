"""Statements written in SQLAlchemy, compiled once, run at the driver's own speed.

SQLAlchemy's execution of a compiled statement costs several times what the database needs for it
(measured: 2,400 claims a second against 14,000), so what never changes shape is compiled once for
each dialect and handed to the driver's cursor with its parameters in order. Only searches with
filters, whose shape varies, take SQLAlchemy's own way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Delete,
    Insert,
    Select,
    Text,
    Update,
    bindparam,
    delete,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.engine import Dialect

from scheduler.store.mapping import Mapper
from scheduler.store.unreadable import UnreadableRows

Clause = Select[Any] | Insert | Update | Delete
Bind = Callable[[Sequence[Any]], Sequence[Any]]


class Statement:
    """A statement of fixed shape and the names of its parameters, in the order callers give."""

    __slots__ = ("clause", "names")

    def __init__(self, clause: Clause, *names: str) -> None:
        self.clause = clause
        self.names = names


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement's text for one dialect; `bind` puts parameters into the text's order."""

    text: str
    bind: Bind


class Statements:
    """One dialect's compiled statements; shared by all connections of a store."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._prepared: dict[Statement, Prepared] = {}
        self.unreadable = UnreadableRows()
        """The rows that were passed over, by whatever connection."""

    def prepared(self, statement: Statement) -> Prepared:
        """Return the statement's text, compiled the first time it is asked for."""
        try:
            return self._prepared[statement]
        except KeyError:
            return self._prepared.setdefault(statement, self._compile(statement))

    def _compile(self, statement: Statement) -> Prepared:
        compiled = statement.clause.compile(dialect=self._dialect)
        order = tuple(compiled.positiontup or ())
        # What a clause states as a literal SQLAlchemy made a parameter of its own.
        constants = {name: compiled.params[name] for name in order if name not in statement.names}
        return Prepared(str(compiled), _binder(statement.names, order, constants))


def constant(value: str) -> ColumnElement[str]:
    """Return one of our own words as a part of a statement's text, never as a parameter.

    A partial index serves only statements that say themselves what it is limited to.
    """
    return literal_column(f"'{value}'", Text())


def inserted(mapper: Mapper[Any]) -> Statement:
    """Return the insert of one whole entity."""
    return Statement(insert(mapper.table), *mapper.columns)


def numbered(mapper: Mapper[Any], number: str) -> Statement:
    """Return the insert of an entity whose `number` the database gives, and returns.

    Parameters: the entity's whole row; its own number is not used.
    """
    given: dict[str, Any] = {
        name: bindparam(f"new_{name}") for name in mapper.columns if name != number
    }
    clause = insert(mapper.table).values(given).returning(mapper.table.c[number])
    return Statement(clause, *(f"new_{name}" for name in mapper.columns))


def selected(mapper: Mapper[Any], *keys: str) -> Statement:
    """Return the select of whole rows whose columns `keys` equal the parameters."""
    wanted = [mapper.table.c[key] == bindparam(key) for key in keys]
    return Statement(select(mapper.table).where(*wanted), *keys)


@cache
def selected_by_key(mapper: Mapper[Any]) -> Statement:
    """Return the select of the row with a primary key."""
    return selected(mapper, *(column.name for column in mapper.table.primary_key))


def removed(mapper: Mapper[Any], *keys: str) -> Statement:
    """Return the delete of rows whose columns `keys` equal the parameters."""
    wanted = [mapper.table.c[key] == bindparam(key) for key in keys]
    return Statement(delete(mapper.table).where(*wanted), *keys)


def overwritten(mapper: Mapper[Any], *guards: str, keep: Sequence[str] = ()) -> Statement:
    """Return the update of all columns but `keep` of the row whose `guards` still hold.

    Parameters: the entity's whole row (kept columns included, they are not used), then the guards.
    """
    table = mapper.table
    written: dict[str, Any] = {
        column: bindparam(f"new_{column}") for column in mapper.columns if column not in keep
    }
    held = [table.c[guard] == bindparam(f"old_{guard}") for guard in guards]
    return Statement(
        update(table).where(*held).values(written),
        *(f"new_{column}" for column in mapper.columns),
        *(f"old_{guard}" for guard in guards),
    )


def _binder(
    names: tuple[str, ...], order: tuple[str, ...], constants: Mapping[str, object]
) -> Bind:
    if names == order:
        return tuple
    known, fixed = [*names, *constants], tuple(constants.values())
    indices = [known.index(name) for name in order]
    if len(indices) == 1:
        return lambda parameters: ((*parameters, *fixed)[indices[0]],)
    pick = itemgetter(*indices) if indices else lambda _: ()
    return lambda parameters: pick((*parameters, *fixed))
