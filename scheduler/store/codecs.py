"""How each type of an entity's field is stored: one codec a type hint, used by every table.

Columns are plain on both engines (text, 64-bit integers, floats, booleans) so that statements can
run at the driver's own speed: times are microseconds since 1970 in UTC, enums their value, anything
nested a JSON text. A naive time is refused, and so is a text that PostgreSQL could not hold.

An enum's values are part of the schema: adding one is a migration, so an older version refuses the
database at open. A value that is unknown all the same makes reading its row fail, and is therefore
never written over.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from sqlalchemy import BigInteger, Boolean, Double, LargeBinary, Text
from sqlalchemy.types import TypeEngine

from scheduler.errors import Invalid, Unavailable

Convert = Callable[[Any], Any]

NAME: Final = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that sorts by code point on both engines."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """How one field becomes a column's value and back; None passes both ways untouched."""

    type: TypeEngine[Any]
    nullable: bool
    encode: Convert
    decode: Convert | None = None


def codec_of(hint: object, *, binary: bool = False) -> Codec:
    """Return the codec for an entity field's type; `binary` stores a text as its UTF-8 bytes."""
    inner, nullable = _without_none(hint)
    if binary:
        return Codec(type=LargeBinary(), nullable=nullable, encode=_to_bytes, decode=_from_bytes)
    if inner in _SCALARS:
        column, encode, decode = _SCALARS[inner]
        return Codec(type=column, nullable=nullable, encode=encode, decode=decode)
    if isinstance(inner, type) and issubclass(inner, StrEnum):
        return Codec(type=NAME, nullable=nullable, encode=_value, decode=_enum(inner))
    dump, load = _document(inner)
    return Codec(
        type=Text(),
        nullable=nullable,
        encode=lambda value: _to_json(dump(value)),
        decode=lambda text: load(json.loads(text)),
    )


def micros(moment: datetime) -> int:
    """Return an aware time as microseconds since 1970; `Invalid` when it is naive."""
    if moment.tzinfo is None:
        raise Invalid(f"{moment.isoformat()} has no time zone", remedy="Give times in UTC.")
    return (moment - _EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """Return the aware UTC time of so many microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=value)


def storable(text: str) -> str:
    """Return `text`, or raise `Invalid` when an engine could not hold it."""
    if "\0" in text:
        raise Invalid("text contains a NUL character", remedy="Remove it.")
    return text


def _without_none(hint: object) -> tuple[Any, bool]:
    if get_origin(hint) in (Union, types.UnionType):
        inner = [one for one in get_args(hint) if one is not type(None)]
        if len(inner) == 1:
            return inner[0], True
    return hint, False


def _same(value: Any) -> Any:
    return value


def _value(member: StrEnum) -> str:
    return member.value


def _enum(kind: type[StrEnum]) -> Convert:
    members = {member.value: member for member in kind}

    def decode(value: str) -> StrEnum:
        try:
            return members[value]
        except KeyError:
            raise Unavailable(
                f"a row holds {kind.__name__} {value!r}, which this version does not know",
                remedy="A newer sandboxd wrote it: run that version; the row was left alone.",
            ) from None

    return decode


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _from_bytes(value: bytes) -> str:
    return bytes(value).decode("utf-8", "surrogatepass")


_SCALARS: Mapping[Any, tuple[TypeEngine[Any], Convert, Convert | None]] = {
    str: (NAME, storable, None),
    int: (BigInteger(), _same, None),
    float: (Double(), float, None),
    bool: (Boolean(), bool, bool),
    datetime: (BigInteger(), micros, moment),
}

# What is nested in an entity: tuples, mappings and small dataclasses, as JSON.


def _to_json(document: object) -> str:
    if document == {}:
        return "{}"
    if document == []:
        return "[]"
    try:
        return json.dumps(document, separators=(",", ":"), allow_nan=False)
    except ValueError:
        raise Invalid("a number is not finite", remedy="Leave it out.") from None


def _document(hint: Any) -> tuple[Convert, Convert]:
    inner, nullable = _without_none(hint)
    dump, load = _document_codec(inner)
    if not nullable:
        return dump, load
    return (
        lambda value: None if value is None else dump(value),
        lambda value: None if value is None else load(value),
    )


def _document_codec(hint: Any) -> tuple[Convert, Convert]:
    if hint is datetime:
        return _iso, datetime.fromisoformat
    if is_dataclass(hint) and isinstance(hint, type):
        return _dataclass_codec(hint)
    if get_origin(hint) is tuple:
        dump, load = _document(get_args(hint)[0])
        return (
            lambda value: [dump(one) for one in value],
            lambda value: tuple(load(one) for one in value),
        )
    if get_origin(hint) is Mapping:
        return (_labels if get_args(hint) == (str, str) else dict), _same
    return _same, _same


def _dataclass_codec(kind: type) -> tuple[Convert, Convert]:
    hints = get_type_hints(kind)
    parts = {one.name: _document(hints[one.name]) for one in fields(kind)}

    def dump(value: Any) -> dict[str, Any]:
        return {name: to(getattr(value, name)) for name, (to, _) in parts.items()}

    def load(document: Mapping[str, Any]) -> Any:
        known = document.keys() & parts.keys()
        return kind(**{name: parts[name][1](document[name]) for name in known})

    return dump, load


def _iso(value: datetime) -> str:
    micros(value)
    return value.astimezone(UTC).isoformat()


def _labels(value: Mapping[str, str]) -> dict[str, str]:
    return {_searchable(key): _searchable(text) for key, text in value.items()}


def _searchable(text: str) -> str:
    """Labels are compared inside the database, whose JSON cannot hold half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Invalid("text is not valid Unicode", remedy="Correct it.") from None
    return storable(text)
