"""Entities and rows: a table's columns are derived from its dataclass, one a field, same names.

So an entity and its table cannot drift apart, and the migrations' drift test compares both with the
database. Encoding touches only the columns whose type needs it: this is the hot path of a claim.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, Generic, TypeVar, get_type_hints

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table
from sqlalchemy.schema import SchemaItem

from scheduler.errors import Unreadable
from scheduler.store.codecs import Codec, codec_of
from scheduler.store.values import storable

E = TypeVar("E")

_FAULTS = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)
"""What decoding may raise of a value that no version of ours wrote."""

# SQLite numbers rows by itself only in a column of exactly this type.
_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


class Mapper(Generic[E]):
    """One entity type, its table, and the way between them."""

    def __init__(self, entity: type[E], table: Table, codecs: dict[str, Codec]) -> None:
        self.table = table
        self.columns = tuple(codecs)
        self.kind = entity
        self._codecs = codecs
        self._values: Callable[[E], tuple[Any, ...]] = attrgetter(*self.columns)
        # All texts are checked at once; what is stored as it is costs nothing.
        self._texts = [i for i, one in enumerate(codecs.values()) if one.is_text]
        self._encoders = [
            (i, one.encode)
            for i, one in enumerate(codecs.values())
            if one.encode is not None and not one.is_text
        ]
        self._decoders = [
            (i, one.decode) for i, one in enumerate(codecs.values()) if one.decode is not None
        ]

    def row(self, entity: E) -> list[Any]:
        """Return the entity's values as stored, in the order of `columns`."""
        values = list(self._values(entity))
        for index, encode in self._encoders:
            if values[index] is not None:
                values[index] = encode(values[index])
        storable("".join([text for index in self._texts if (text := values[index])]))
        return values

    def entity(self, row: Sequence[Any]) -> E:
        """Return the entity that a whole row stands for; `Unreadable` when it cannot be told."""
        values, index = list(row), 0
        try:
            for index, decode in self._decoders:
                if values[index] is not None:
                    values[index] = decode(values[index])
        except _FAULTS as error:
            raise self._unreadable(row, self.columns[index], error) from error
        return self.kind(**dict(zip(self.columns, values, strict=True)))

    def _unreadable(self, row: Sequence[Any], column: str, error: Exception) -> Unreadable:
        name = self.table.name
        key = tuple(row[self.columns.index(one.name)] for one in self.table.primary_key)
        return Unreadable(
            f"row {'/'.join(map(str, key))} of {name} cannot be read: its {column} holds {error}",
            remedy="If a newer sandboxd wrote it, run that version; else mend it in the database, "
            "or restore a copy: it is left alone.",
            key=key,
        )

    def encode(self, column: str, value: Any) -> Any:
        """Return one field's value as it is stored."""
        encode = self._codecs[column].encode
        return value if value is None or encode is None else encode(value)

    def decode(self, column: str, stored: Any) -> Any:
        """Return what one field's stored value stands for."""
        decode = self._codecs[column].decode
        return stored if stored is None or decode is None else decode(stored)


def mapped(
    entity: type[E],
    metadata: MetaData,
    name: str,
    *constraints: SchemaItem,
    key: Collection[str] = ("id",),
    binary: Collection[str] = (),
    numbered: str | None = None,
) -> Mapper[E]:
    """Return a mapper over a new table `name` whose primary key is `key`.

    `binary` columns hold a text's bytes, `numbered` is given by the database and never used again.
    """
    hints = get_type_hints(entity)
    codecs = {
        one.name: codec_of(hints[one.name], binary=one.name in binary)
        for one in fields(entity)  # type: ignore[arg-type]
    }
    columns: list[Column[Any]] = [
        Column(
            field,
            _NUMBER if field == numbered else codec.type,
            nullable=codec.nullable,
            primary_key=field in key,
            autoincrement=field == numbered or "auto",
        )
        for field, codec in codecs.items()
    ]
    table = Table(name, metadata, *columns, *constraints, sqlite_autoincrement=numbered is not None)
    return Mapper(entity, table, codecs)
