"""How a listing is asked for and answered: page size, order, offset or cursor.

A cursor is the sort key and id of the last row seen, so pages stay whole while rows come and go; it
is opaque, bound to its order, and anything else than what we gave out is refused. Every order ends
in the id, so two calls never disagree about equals.
"""

from __future__ import annotations

import base64
import binascii
import enum
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, and_, or_

from scheduler.errors import Invalid

T = TypeVar("T")

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000


class Unset(enum.Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"


UNSET: Final = Unset.UNSET
"""Not given, where None is a value."""


def given(value: T | Unset, otherwise: T) -> T:
    """Return the value if one was given, else `otherwise`."""
    return otherwise if isinstance(value, Unset) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """The seed's ListOptions; a limit of 0 is the default, an empty order the aggregate's own."""

    limit: int = 0
    offset: int = 0
    order_by: str = ""
    asc: bool = False
    cursor: str | None = None

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise _invalid("limit", "must not be negative")
        if self.limit > MAX_LIMIT:
            raise _invalid("limit", f"must be at most {MAX_LIMIT}")
        if self.offset < 0:
            raise _invalid("offset", "must not be negative")
        if self.offset and self.cursor is not None:
            raise _invalid("offset", "cannot be combined with a cursor")

    @property
    def size(self) -> int:
        """Return how many rows a page holds at most."""
        return self.limit or DEFAULT_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """One page; `next_cursor` is null on the last."""

    items: tuple[T, ...]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What an aggregate may be ordered by; `keys` are never null."""

    keys: Mapping[str, ColumnElement[Any]] = field(hash=False)
    id: ColumnElement[Any]
    default: str
    default_asc: bool = False

    def of(self, options: ListOptions) -> Sorting:
        """Return the order that the options ask for; `Invalid` outside the whitelist."""
        if not options.order_by:
            asc = options.asc if options.asc else self.default_asc
            return Sorting(key=self.default, column=self.keys[self.default], id=self.id, asc=asc)
        try:
            column = self.keys[options.order_by]
        except KeyError:
            raise _invalid("order_by", f"must be one of {', '.join(sorted(self.keys))}") from None
        return Sorting(key=options.order_by, column=column, id=self.id, asc=options.asc)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorting:
    """One chosen order, and how its cursors are written and read."""

    key: str
    column: ColumnElement[Any]
    id: ColumnElement[Any]
    asc: bool

    def page(self, select: Select[Any], options: ListOptions) -> Select[Any]:
        """Return `select` narrowed to the page, one row longer to know whether more follow."""
        if options.cursor is not None:
            select = select.where(self._after(options.cursor))
        way = (
            (self.column.asc(), self.id.asc()) if self.asc else (self.column.desc(), self.id.desc())
        )
        return (
            select.add_columns(self.column.label("sort_key"), self.id.label("sort_id"))
            .order_by(*way)
            .limit(options.size + 1)
            .offset(options.offset)
        )

    def next_cursor(self, rows: Sequence[Sequence[Any]], size: int) -> str | None:
        """Return the cursor after the page's last row, or None when nothing follows."""
        if len(rows) <= size:
            return None
        value, last = rows[size - 1][-2:]
        document = json.dumps([self.key, self.asc, value, last], separators=(",", ":"))
        return base64.urlsafe_b64encode(document.encode()).decode().rstrip("=")

    def _after(self, cursor: str) -> ColumnElement[bool]:
        value, last = self._read(cursor)
        if self.asc:
            return or_(self.column > value, and_(self.column == value, self.id > last))
        return or_(self.column < value, and_(self.column == value, self.id < last))

    def _read(self, cursor: str) -> tuple[Any, Any]:
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            document = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            key, asc, value, last = document
        except (ValueError, TypeError, binascii.Error, RecursionError):
            raise _invalid("cursor", "is not one of ours") from None
        if key != self.key or asc is not self.asc:
            raise _invalid("cursor", "belongs to another order")
        kinds = self.column.type.python_type, self.id.type.python_type
        if not _fits(value, kinds[0]) or not _fits(last, kinds[1]):
            raise _invalid("cursor", "is not one of ours")
        return value, last


def _fits(value: object, kind: type) -> bool:
    if isinstance(value, str):
        return kind is str and "\0" not in value
    return type(value) is kind is int and abs(value) < 1 << 63


def _invalid(name: str, fault: str) -> Invalid:
    return Invalid(f"{name} {fault}", remedy=f"Correct {name}.", details={name: fault})
