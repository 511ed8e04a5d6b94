"""What every repository has: the transaction's cursor, the clock, and whole-row access."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Select, select

from scheduler.clock import Clock
from scheduler.errors import AlreadyExists, NotFound, Unreadable
from scheduler.store.cursor import Cursor
from scheduler.store.mapping import Mapper
from scheduler.store.options import ListOptions, Order, Page
from scheduler.store.statements import Statement

E = TypeVar("E")


class Repository:
    """The base of all repositories."""

    __slots__ = ("_clock", "_cursor")

    def __init__(self, cursor: Cursor, clock: Clock) -> None:
        self._cursor = cursor
        self._clock = clock

    def _insert(self, mapper: Mapper[E], statement: Statement, entity: E) -> None:
        self._change(mapper, statement, mapper.row(entity), entity)

    def _change(
        self, mapper: Mapper[E], statement: Statement, parameters: Sequence[Any], entity: E
    ) -> bool:
        """Run a write of one entity's row; return whether there was such a row."""
        try:
            return self._cursor.change(statement, parameters) > 0
        except AlreadyExists as error:
            raise _named(mapper, entity, error) from error

    def _one(self, mapper: Mapper[E], statement: Statement, *keys: Any) -> E:
        found = self._maybe(mapper, statement, *keys)
        if found is None:
            raise absent(mapper, *keys)
        return found

    def _maybe(self, mapper: Mapper[E], statement: Statement, *keys: Any) -> E | None:
        row = self._cursor.row(statement, *keys)
        return None if row is None else mapper.entity(row)

    def _all(self, mapper: Mapper[E], statement: Statement, *keys: Any) -> tuple[E, ...]:
        return tuple(map(mapper.entity, self._cursor.rows(statement, *keys)))

    def _readable(self, mapper: Mapper[E], statement: Statement, *keys: Any) -> tuple[E, ...]:
        """Return those that can be read: one that cannot must not stop a loop over all others.

        Only where nothing follows from one that is missing; it is noted.
        """
        return self._each(mapper, self._cursor.rows(statement, *keys))

    def _each(self, mapper: Mapper[E], rows: Iterable[Sequence[Any]]) -> tuple[E, ...]:
        found: list[E] = []
        for row in rows:
            try:
                found.append(mapper.entity(row))
            except Unreadable as error:
                self._cursor.unreadable.note(mapper, error)
        return tuple(found)

    def _matching(self, mapper: Mapper[E], filter: object, *names: str) -> Select[Any]:
        """Return the search for rows whose columns `names` equal what the filter gives."""
        query = select(mapper.table)
        for name in names:
            if (value := getattr(filter, name)) is not None:
                query = query.where(mapper.table.c[name] == mapper.encode(name, value))
        return query

    def _page(
        self,
        mapper: Mapper[E],
        select: Select[Any],
        order: Order,
        options: ListOptions | None,
        *,
        whole: bool = False,
    ) -> Page[E]:
        """Return a page without the rows that cannot be read, which it is shorter by.

        `whole` where something follows from one that is missing: those raise `Unreadable`.
        """
        options = options or ListOptions()
        sorting = order.of(options)
        rows = self._cursor.search(sorting.page(select, options))
        shown = [row[:-2] for row in rows[: options.size]]
        items = tuple(map(mapper.entity, shown)) if whole else self._each(mapper, shown)
        return Page(items=items, next_cursor=sorting.next_cursor(rows, options.size))


def absent(mapper: Mapper[Any], *keys: object) -> NotFound:
    """Return the error of a record that is not there."""
    name = noun(mapper)
    return NotFound(
        f"there is no {name} {' '.join(map(str, keys))}",
        remedy=f"Check the {name}'s id or name.",
    )


def noun(mapper: Mapper[Any]) -> str:
    """Return what a table's rows are called."""
    name = mapper.table.name.replace("_", " ")
    if name.endswith("ies"):
        return f"{name.removesuffix('ies')}y"
    return name.removesuffix("es") if name.endswith("xes") else name.removesuffix("s")


def _named(mapper: Mapper[E], entity: E, error: AlreadyExists) -> AlreadyExists:
    fields = [name for name in error.details.get("fields", ()) if name in mapper.columns]  # type: ignore[attr-defined]
    described = " and ".join(f"{name} {getattr(entity, name)!r}" for name in fields)
    return AlreadyExists(
        f"a {noun(mapper)} with {described or 'this key'} exists already",
        remedy=error.remedy,
        details={"fields": fields},
    )
