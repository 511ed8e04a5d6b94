"""What is nested in an entity, as JSON text: tuples, mappings and small dataclasses.

Everything that is not ASCII is escaped, so a document holds what a text column could not. A plain
mapping or tuple goes to the encoder as it is; only dataclasses, times and labels need work of ours.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic_core import from_json

from scheduler.errors import Invalid
from scheduler.store.values import micros, searchable

Convert = Callable[[Any], Any]


def _plain(value: object) -> dict[Any, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


_write = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=_plain).encode


def _read(text: str) -> Any:
    # Rows are read by the thousand, and most documents in them are empty.
    if text == "{}":
        return {}
    if text == "[]":
        return []
    try:
        # Gives every document the same keys and short texts, not each its own copies.
        return from_json(text)
    except ValueError:  # half of a surrogate pair is text to us, if not to it
        return json.loads(text)


def document(hint: Any) -> tuple[Convert, Convert]:
    """Return the ways from a value of this type to JSON text and back."""
    dump, load = _codec(hint)
    empty = "{}" if get_origin(hint) is Mapping else "[]"

    def to_text(value: Any) -> str:
        # Most documents are empty most of the time, and a claim writes a dozen.
        if not value:
            return empty
        try:
            return _write(value if dump is None else dump(value))
        except ValueError:
            raise Invalid("a number is not finite", remedy="Leave it out.") from None

    def from_text(text: str) -> Any:
        value = _read(text)
        return value if load is None else load(value)

    return to_text, from_text


def without_none(hint: Any) -> tuple[Any, bool]:
    """Return the type without `| None`, and whether it had that."""
    if get_origin(hint) in (Union, types.UnionType):
        inner = [one for one in get_args(hint) if one is not type(None)]
        if len(inner) == 1:
            return inner[0], True
    return hint, False


def _codec(hint: Any) -> tuple[Convert | None, Convert | None]:
    """Return what must be done to a value before it is JSON, and after; None for nothing."""
    if hint is datetime:
        return _iso, datetime.fromisoformat
    if is_dataclass(hint) and isinstance(hint, type):
        return _dataclass_codec(hint)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return None, hint
    if get_origin(hint) is tuple:
        return _tuple_codec(*_part(get_args(hint)[0]))
    if get_origin(hint) is Mapping and get_args(hint) == (str, str):
        return _labels, None
    return None, None


def _part(hint: Any) -> tuple[Convert | None, Convert | None]:
    inner, nullable = without_none(hint)
    dump, load = _codec(inner)
    return (_or_none(dump), _or_none(load)) if nullable else (dump, load)


def _or_none(convert: Convert | None) -> Convert | None:
    if convert is None:
        return None
    return lambda value: None if value is None else convert(value)


def _tuple_codec(dump: Convert | None, load: Convert | None) -> tuple[Convert | None, Convert]:
    return (
        None if dump is None else lambda values: [dump(one) for one in values],
        tuple if load is None else lambda values: tuple(load(one) for one in values),
    )


def _dataclass_codec(kind: type) -> tuple[Convert, Convert]:
    hints = get_type_hints(kind)
    parts = {one.name: _part(hints[one.name]) for one in fields(kind)}

    def dump(value: Any) -> dict[str, Any]:
        document = {name: getattr(value, name) for name in parts}
        return {
            name: document[name] if to is None else to(document[name])
            for name, (to, _) in parts.items()
        }

    def load(document: Mapping[str, Any]) -> Any:
        return kind(
            **{
                name: document[name] if back is None else back(document[name])
                for name, (_, back) in parts.items()
                if name in document
            }
        )

    return dump, load


def _iso(value: datetime) -> str:
    micros(value)
    return value.astimezone(UTC).isoformat()


def _labels(value: Mapping[str, str]) -> Mapping[str, str]:
    """Check labels: they are compared inside the database."""
    searchable("".join((*value, *value.values())))
    return value
