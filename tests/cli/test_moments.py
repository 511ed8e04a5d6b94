"""Times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scheduler.cli.moments import absolute, age, moment, remaining

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2026-01-05T11:00:00Z", "2026-01-05T11:00:00+00:00"])
def test_ages_and_rests_are_relative_to_now(text: str) -> None:
    assert age(text, NOW) == "1h"
    assert remaining(text, NOW) == "due"
    assert remaining("2026-01-05T12:00:30Z", NOW) == "30s"


def test_a_time_without_a_zone_is_utc() -> None:
    assert moment("2026-01-05T12:00:00") == NOW


@pytest.mark.parametrize("value", [None, "", "yesterday", 5])
def test_what_is_no_time_is_a_dash(value: object) -> None:
    assert moment(value) is None
    assert (age(value, NOW), remaining(value, NOW), absolute(value)) == ("-", "-", "-")


def test_a_full_time_names_its_zone() -> None:
    shown = absolute("2026-01-05T12:00:00.123Z")
    assert datetime.fromisoformat(shown) == NOW
