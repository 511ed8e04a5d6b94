"""One backup a day, a few of them kept, and a disk that refuses stops nothing."""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from scheduler.config import load
from scheduler.control.backups import LONGEST_SECONDS, SETTLED_SECONDS, BackupLoop, Backups
from scheduler.control.tally import Untold
from scheduler.service.backups import find_backups, make_backup
from tests.clocks import ManualClock
from tests.databases import sqlite_at
from tests.service.test_backups import refuse_removing
from tests.waits import until

HOUR = 3600.0


class Counted(Untold):
    """Notes what is told of backups."""

    def __init__(self) -> None:
        self.newest: list[datetime | None] = []
        self.ends: list[str] = []

    def backed_up(self, newest_at: datetime | None, /) -> None:
        self.newest.append(newest_at)

    def backup_ended(self, result: str, /) -> None:
        self.ends.append(result)


@dataclass
class Kept:
    """A daemon's own backups."""

    clock: ManualClock
    state: Path
    backups: Backups
    told: Counted

    def days(self) -> list[str]:
        """Return the day of the month of each, newest first."""
        there = find_backups(self.state / "backups", self.clock.now())
        return [f"{one.made_at:%d}" for one in there]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    clock, state = ManualClock(), tmp_path / "state"
    state.mkdir()
    database = state / "sandboxd.db"
    sqlite_at(database)
    (state / "cluster.key").write_text("key")
    told = Counted()
    backups = Backups(state, database, state / "backups", clock, keep=3, tally=told)
    return Kept(clock, state, backups, told)


async def test_the_first_waits_until_the_daemon_has_settled(kept: Kept) -> None:
    assert await kept.backups.look() == SETTLED_SECONDS
    kept.clock.advance(SETTLED_SECONDS - 1)
    assert await kept.backups.look() == 1
    assert kept.days() == []
    kept.clock.advance(1)
    assert await kept.backups.look() is None
    assert kept.days() == ["05"]


async def test_one_a_day_is_made_and_few_are_kept(kept: Kept) -> None:
    for _ in range(5 * 24):
        kept.clock.advance(HOUR)
        await kept.backups.look()
    assert kept.days() == ["09", "08", "07"]
    facts = kept.backups.facts()
    assert (facts.keep, facts.fault) == (3, None)
    assert f"{facts.newest_at:%d}" == "09"


async def test_a_new_daemon_counts_from_the_last_ones(kept: Kept) -> None:
    kept.clock.advance(SETTLED_SECONDS)
    await kept.backups.look()
    again = Backups(
        kept.state, kept.state / "sandboxd.db", kept.state / "backups", kept.clock, keep=3
    )
    kept.clock.advance(HOUR)
    assert await again.look() is None
    assert kept.days() == ["05"]


async def test_a_clock_that_was_ahead_keeps_none_from_being_made(kept: Kept) -> None:
    kept.clock.advance(SETTLED_SECONDS)
    kept.clock.set_wall(1000 * HOUR)
    await kept.backups.look()
    kept.clock.set_wall(-1000 * HOUR)
    await kept.backups.look()
    assert len(kept.days()) == 2
    assert kept.days()[0] == "05"


async def test_a_fault_is_told_and_goes_with_the_next_that_succeeds(kept: Kept) -> None:
    kept.clock.advance(SETTLED_SECONDS)
    (kept.state / "backups").write_text("in the way")
    await kept.backups.look()
    facts = kept.backups.facts()
    assert "no backup could be made" in (facts.fault or "")
    assert facts.newest_at is None
    (kept.state / "backups").unlink()
    await kept.backups.look()
    assert kept.backups.facts().fault is None


async def test_a_directory_that_cannot_be_read_is_told_and_ends_nothing(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.clock.advance(SETTLED_SECONDS)
    loop = BackupLoop(kept.backups, kept.clock)
    iterdir = Path.iterdir

    def refuse(directory: Path) -> Iterator[Path]:
        if directory.name == "backups":
            raise OSError(errno.EIO, "Input/output error")
        return iterdir(directory)

    (kept.state / "backups").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", refuse)
        running = asyncio.create_task(loop.run())
        await until(lambda: "cannot be read" in (kept.backups.facts().fault or ""))
        assert not running.done()
        loop.stop()
        await running
    await kept.backups.look()
    assert (kept.days(), kept.backups.facts().fault) == (["05"], None)


async def test_what_there_is_is_told_before_the_first_is_made(kept: Kept) -> None:
    make_backup(kept.state, kept.state / "sandboxd.db", kept.state / "backups", kept.clock.now())
    assert await kept.backups.look() == SETTLED_SECONDS
    assert kept.backups.facts().newest_at == kept.clock.now()


async def test_one_of_another_user_is_told_and_keeps_none_from_being_made(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = kept.state / "backups" / "sandboxd-20260105T121000Z.partial"
    refuse_removing(monkeypatch, half)
    kept.clock.advance(SETTLED_SECONDS)
    await kept.backups.look()
    for _ in range(5):
        kept.clock.advance(24 * HOUR)
        await kept.backups.look()
    assert kept.days() == ["10", "09", "08"]
    kept.clock.advance(HOUR)
    await kept.backups.look()
    told = f"what is left of old backups cannot be removed: {half}"
    assert kept.backups.facts().fault == told
    monkeypatch.undo()
    shutil.rmtree(half)
    await kept.backups.look()
    assert kept.backups.facts().fault is None


async def test_none_are_made_of_a_server_or_where_nobody_wants_them(
    kept: Kept, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    for text in (
        "[backups]\nkeep = 0\n",
        '[store]\ndatabase_url = "postgres://sandboxd@db.example/sandboxd"\n',
    ):
        config.write_text(text)
        settings = load(config, state_dir=kept.state, environ={})
        backups = Backups.of(settings, kept.clock, kept.told)
        kept.clock.advance(SETTLED_SECONDS)
        assert await backups.look() is None
        assert backups.facts().keep == 0
    assert kept.days() == []
    assert kept.told.newest == [], "none is overdue where none is made"


async def test_the_newest_is_told_at_every_look_and_how_each_ended(kept: Kept) -> None:
    await kept.backups.look()
    kept.clock.advance(SETTLED_SECONDS)
    made_at = kept.clock.now()
    await kept.backups.look()
    kept.clock.advance(HOUR)
    await kept.backups.look()
    assert kept.told.newest == [None, made_at, made_at]
    assert kept.told.ends == ["done"]


async def test_what_fails_is_counted_and_the_newest_stays(kept: Kept) -> None:
    kept.clock.advance(SETTLED_SECONDS)
    made_at = kept.clock.now()
    await kept.backups.look()
    (kept.state / "cluster.key").unlink()
    kept.clock.advance(24 * HOUR)
    await kept.backups.look()
    assert kept.told.newest == [made_at, made_at]
    assert kept.told.ends == ["done", "failed"]


async def test_a_directory_of_somebody_else_is_told_and_ends_nothing(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root, by whom tests may run, may read everything."""
    await kept.backups.look()
    there, iterdir = kept.state / "backups", Path.iterdir
    there.mkdir()

    def refused(path: Path) -> Iterator[Path]:
        if path == there:
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "iterdir", refused)
        await kept.backups.look()
        kept.clock.advance(SETTLED_SECONDS)
        assert await kept.backups.look() is None
        assert "cannot be read" in (kept.backups.facts().fault or "")
    assert kept.told.newest == [None, None, None]
    assert kept.told.ends == ["failed"]
    await kept.backups.look()
    assert kept.backups.facts().fault is None
    assert kept.told.ends == ["failed", "done"]


async def test_one_that_is_dated_ahead_is_nobody_s_last_success(kept: Kept) -> None:
    kept.clock.set_wall(1000 * HOUR)
    kept.clock.advance(SETTLED_SECONDS)
    await kept.backups.look()
    kept.clock.set_wall(-1000 * HOUR)
    (kept.state / "cluster.key").unlink()
    await kept.backups.look()
    assert kept.told.newest[-1] is None


async def test_the_loop_runs_beside_the_others_until_stopped(kept: Kept) -> None:
    kept.clock.advance(SETTLED_SECONDS)
    loop = BackupLoop(kept.backups, kept.clock)
    await loop.resume()
    running = asyncio.create_task(loop.run())
    await until(lambda: kept.days() == ["05"])
    (turn,) = loop.turns()
    assert (turn.name, turn.longest_seconds) == ("backups", LONGEST_SECONDS)
    loop.stop()
    await running
