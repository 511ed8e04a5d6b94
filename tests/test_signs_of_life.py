"""Signs of life: heard by whoever watches in the same context, and by nobody where nobody does."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scheduler.processes import run
from scheduler.publishing import programs
from scheduler.signs_of_life import bounded, watched
from tests.watchers import Notes


def test_what_begins_and_ends_is_heard_however_it_ends() -> None:
    notes = Notes()
    with watched(notes), bounded(5):
        assert notes.under_way == [5]
        with pytest.raises(ZeroDivisionError), bounded(3):
            raise ZeroDivisionError
    with bounded(7):
        assert (notes.under_way, notes.ended) == ([], [3, 5])


async def test_tasks_are_watched_over_with_what_began_them() -> None:
    ours, others = Notes(), Notes()

    async def work(seconds: float) -> None:
        with bounded(seconds):
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        with watched(ours):
            group.create_task(work(1))
        with watched(others):
            group.create_task(work(2))
        group.create_task(work(3))
    assert (ours.ended, others.ended) == ([1], [2])


async def test_programs_say_how_long_they_may_take(tmp_path: Path) -> None:
    notes = Notes()
    with watched(notes):
        await run(["true"], cwd=tmp_path, environment={}, limit_seconds=40, most_bytes=1)
        await programs.run(
            ["true"], environment={}, directory=tmp_path, seconds=50, most_file_bytes=1
        )
    assert (notes.under_way, notes.ended) == ([], [40, 50])
