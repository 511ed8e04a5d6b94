"""Health follows polls with hysteresis."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from scheduler.lifecycle.health import Streak, Verdict, after_poll, stale
from scheduler.model import HostHealth, HostResources
from tests.lifecycle.samples import NOW, host


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def polled(start: HostHealth, polls: str, every: float = 10) -> tuple[list[str], Verdict]:
    """Poll a host: `+` answers, `-` does not; return the health after each and the last verdict."""
    record: HostResources = host(health=start, health_since=NOW)
    streak, told = Streak(), []
    for number, poll in enumerate(polls, start=1):
        ok = poll == "+"
        verdict = after_poll(
            record, ok=ok, reason=None if ok else "silent", now=at(number * every), streak=streak
        )
        record = replace(
            record,
            health=verdict.health,
            health_reason=verdict.reason,
            health_since=verdict.since,
        )
        streak = verdict.streak
        told.append(verdict.health.value)
    return told, verdict


@pytest.mark.parametrize(
    ("start", "polls", "expected"),
    [
        (HostHealth.UNKNOWN, "+", ["UP"]),
        (HostHealth.UNKNOWN, "-", ["SUSPECT"]),
        (HostHealth.UP, "+-", ["UP", "SUSPECT"]),
        (HostHealth.UP, "---", ["SUSPECT", "SUSPECT", "DOWN"]),
        (HostHealth.UP, "-++", ["SUSPECT", "SUSPECT", "UP"]),
        (HostHealth.UP, "--+---", ["SUSPECT"] * 5 + ["DOWN"]),
        (HostHealth.UP, "-+-+", ["SUSPECT"] * 4),
        (HostHealth.DOWN, "+", ["DOWN"]),
        (HostHealth.DOWN, "++", ["DOWN", "UP"]),
        (HostHealth.DOWN, "+-++", ["DOWN", "DOWN", "DOWN", "UP"]),
    ],
)
def test_health_follows_the_polls(start: HostHealth, polls: str, expected: list[str]) -> None:
    assert polled(start, polls)[0] == expected


def test_thirty_seconds_of_silence_are_enough() -> None:
    assert polled(HostHealth.UP, "--", every=29)[0] == ["SUSPECT", "SUSPECT"]
    assert polled(HostHealth.UP, "--", every=30)[0] == ["SUSPECT", "DOWN"]


def test_a_change_is_told_with_its_time_and_reason() -> None:
    _, verdict = polled(HostHealth.UP, "-")
    assert (verdict.changed, verdict.since, verdict.reason) == (True, at(10), "silent")
    _, verdict = polled(HostHealth.UP, "--")
    assert (verdict.changed, verdict.since, verdict.reason) == (False, at(10), "silent")
    _, verdict = polled(HostHealth.UP, "-+")
    assert (verdict.changed, verdict.reason) == (False, "silent")
    _, verdict = polled(HostHealth.UP, "-++")
    assert (verdict.changed, verdict.since, verdict.reason) == (True, at(30), None)


def test_a_first_verdict_has_a_time_even_without_a_change() -> None:
    verdict = after_poll(host(health=HostHealth.UP), ok=True, reason=None, now=NOW, streak=Streak())
    assert (verdict.changed, verdict.since) == (False, NOW)


@pytest.mark.parametrize(
    ("observed_at", "expected"),
    [(None, True), (at(-60), False), (at(-60.1), True), (at(60), False), (at(3600), True)],
)
def test_facts_grow_stale(observed_at: datetime | None, expected: bool) -> None:
    assert stale(observed_at, NOW) is expected


def test_how_soon_facts_grow_stale_can_be_set() -> None:
    assert stale(at(-6), NOW, 5)
