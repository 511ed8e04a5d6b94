"""How each type of an entity's field is stored: one codec a type hint, used by every table.

Columns are plain on both engines, so that statements run at the driver's own speed: times are
microseconds since 1970 in UTC, enums their value, anything nested a JSON text. What PostgreSQL
could not hold is refused.
"""

# An enum's values are part of the schema: adding one is a migration, so an older version refuses
# the database at open. A value that is unknown all the same makes reading its row fail, and is
# therefore never written over.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Double, LargeBinary, Text
from sqlalchemy.types import TypeEngine

from scheduler.store.documents import Convert, document, without_none
from scheduler.store.values import micros, moment, storable

NAME: Final = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that sorts by code point on both engines."""

_VALUE = attrgetter("_value_")
"""An enum member's value, without the descriptor that `.value` goes through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """How one field becomes a column's value and back; None passes both ways untouched."""

    type: TypeEngine[Any]
    nullable: bool
    encode: Convert | None = None
    decode: Convert | None = None

    @property
    def is_text(self) -> bool:
        """Return whether the column holds the field's own text, which must be `storable`."""
        return self.type is NAME and self.encode is storable


def codec_of(hint: object, *, binary: bool = False) -> Codec:
    """Return the codec for an entity field's type; `binary` stores a text as its UTF-8 bytes."""
    inner, nullable = without_none(hint)
    if binary:
        return Codec(type=LargeBinary(), nullable=nullable, encode=_to_bytes, decode=_from_bytes)
    if inner in _SCALARS:
        column, encode, decode = _SCALARS[inner]
        return Codec(type=column, nullable=nullable, encode=encode, decode=decode)
    if isinstance(inner, type) and issubclass(inner, StrEnum):
        return Codec(type=NAME, nullable=nullable, encode=_VALUE, decode=_enum(inner))
    to_text, from_text = document(inner)
    return Codec(type=Text(), nullable=nullable, encode=to_text, decode=from_text)


def _enum(kind: type[StrEnum]) -> Convert:
    members = {member.value: member for member in kind}

    def decode(value: str) -> StrEnum:
        try:
            return members[value]
        except KeyError:
            raise ValueError(
                f"{kind.__name__} {value!r}, which this version does not know"
            ) from None

    return decode


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _from_bytes(value: bytes) -> str:
    return bytes(value).decode("utf-8", "surrogatepass")


_SCALARS: Mapping[Any, tuple[TypeEngine[Any], Convert | None, Convert | None]] = {
    str: (NAME, storable, None),
    int: (BigInteger(), None, None),
    float: (Double(), None, None),
    bool: (Boolean(), None, bool),
    bytes: (LargeBinary(), None, bytes),
    datetime: (BigInteger(), micros, moment),
}
