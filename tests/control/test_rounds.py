"""Rounds: one item's refusal costs nobody else anything, and hides neither a bug nor an outage."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from scheduler.control.rounds import each
from scheduler.errors import AlreadyExists, Conflict, Invalid, NotFound, ReadOnly, Unavailable
from scheduler.statedir import DiskRefused


@dataclass(frozen=True)
class Thing:
    id: str


class Worker:
    """Works on things, and meets what it was told to."""

    def __init__(self, **met: Exception) -> None:
        self.met = met
        self.done: list[str] = []

    async def work(self, thing: Thing) -> None:
        if thing.id in self.met:
            raise self.met[thing.id]
        self.done.append(thing.id)


THINGS = [Thing("a"), Thing("b"), Thing("c")]


@pytest.mark.parametrize("kind", [AlreadyExists, Conflict, Invalid, NotFound])
async def test_who_is_refused_is_told_and_passed_over(kind: type[Conflict]) -> None:
    worker = Worker(b=kind("no"))
    with capture_logs() as logs:
        await each("things", THINGS, worker.work)
    assert worker.done == ["a", "c"]
    (told,) = logs
    assert (told["loop"], told["key"], told["code"]) == ("things", "b", kind.code)


async def test_where_a_disk_refuses_the_others_have_their_turn_first() -> None:
    worker = Worker(a=DiskRefused("the first"), b=DiskRefused("the second"))
    with pytest.raises(DiskRefused, match="the first"):
        await each("things", THINGS, worker.work)
    assert worker.done == ["c"]


@pytest.mark.parametrize("error", [ReadOnly("full"), Unavailable("gone"), ValueError("a bug")])
async def test_an_outage_and_a_bug_end_the_round(error: Exception) -> None:
    worker = Worker(b=error)
    with pytest.raises(type(error)):
        await each("things", THINGS, worker.work)
    assert worker.done == ["a"]
