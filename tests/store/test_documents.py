"""Nested values as JSON: what entities of today do not hold yet holds as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from scheduler.store.documents import document, without_none

NOW = datetime(2026, 1, 5, 12, 0, 0, 7, tzinfo=UTC)


@dataclass(frozen=True)
class Inner:
    at: datetime
    seen: datetime | None = None


@dataclass(frozen=True)
class Outer:
    first: Inner | None
    rest: tuple[Inner | None, ...] = ()
    plain: Mapping[str, object] = field(default_factory=dict)
    mixed: int | str = 0


@pytest.mark.parametrize(
    "value",
    [
        Outer(None),
        Outer(Inner(NOW), (Inner(NOW, NOW), None), {"a": [1, None]}, "x"),
        Outer(Inner(NOW, NOW), mixed=7),
    ],
)
def test_a_nested_value_comes_back(value: Outer) -> None:
    to_text, from_text = document(Outer)
    assert from_text(to_text(value)) == value


def test_a_field_that_an_older_document_lacks_takes_its_default() -> None:
    _, from_text = document(Outer)
    assert from_text('{"first": null, "gone": 1}') == Outer(None)


def test_only_none_is_taken_out_of_a_type() -> None:
    assert without_none(int | None) == (int, True)
    assert without_none(int | str) == (int | str, False)
    assert without_none(int) == (int, False)
