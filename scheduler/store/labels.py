"""Searching by labels: each engine's own way into a JSON text, with every value bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, ColumnElement, and_, cast, exists, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB


def labelled(column: Column[Any], selector: Mapping[str, str], engine: str) -> ColumnElement[bool]:
    """Return the condition that `column` holds every label of `selector`, with these values."""
    if engine == "postgresql":
        return cast(column, JSONB).contains(dict(selector))
    return and_(*(_holds(column, key, value) for key, value in selector.items()))


def _holds(column: Column[Any], key: str, value: str) -> ColumnElement[bool]:
    each = func.json_each(column).table_valued("key", "value")
    return exists(
        select(literal(1)).select_from(each).where(each.c.key == key, each.c.value == value)
    )
