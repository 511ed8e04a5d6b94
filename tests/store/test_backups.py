"""Which copies are kept, and which is offered."""

from __future__ import annotations

import shutil
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler.errors import Unavailable
from scheduler.store.backups import KEPT_SCHEMAS, find_backups, how_to_restore, make_backup
from tests.clocks import START
from tests.databases import sqlite_at

DAY = timedelta(days=1)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "sandboxd.db"
    sqlite_at(path)
    return path


def kept(database: Path) -> list[tuple[str, int]]:
    """Return each copy's schema and age in days, newest first."""
    return [(one.revision, (one.made_at - START).days) for one in find_backups(database)]


def test_of_each_schema_the_newest_is_kept_of_few_schemas(database: Path) -> None:
    for day, revision in enumerate(("0001", "0002", "0002", "0003", "0004", "0004")):
        make_backup(database, revision, START + day * DAY)
        assert len(kept(database)) <= KEPT_SCHEMAS
    assert kept(database) == [("0004", 5), ("0003", 3), ("0002", 2)]


def test_an_upgrade_tried_again_and_again_costs_no_older_copy(database: Path) -> None:
    make_backup(database, "0001", START)
    for day in range(1, 9):
        make_backup(database, "0002", START + day * DAY)
    assert kept(database) == [("0002", 8), ("0001", 0)]


def test_only_our_own_copies_count(database: Path) -> None:
    made = make_backup(database, "0001", START)
    other = database.with_name("other.db")
    shutil.copy(database, other)
    foreign = make_backup(other, "0001", START).path
    notes = database.with_name(f"{database.name}.before-upgrade-notes")
    notes.write_text("mine")
    for day in range(1, 9):
        make_backup(database, f"000{day}", START + day * DAY)
    assert foreign.exists()
    assert notes.exists()
    assert not made.path.exists()


def test_the_newest_that_fits_is_offered(database: Path) -> None:
    for day, revision in enumerate(("0001", "0002", "0003")):
        make_backup(database, revision, START + day * DAY)
    offered = how_to_restore(database, {"0001", "0002"})
    assert "before-upgrade-0002-20260106T120000Z" in offered
    assert "0003" not in offered
    assert "No backup" in how_to_restore(database, {"0000"})


def test_a_path_with_blanks_is_quoted(database: Path) -> None:
    there = database.parent / "my state; true"
    there.mkdir()
    moved = database.rename(there / "sandboxd.db")
    make_backup(moved, "0001", START)
    assert f"cp -p '{there}/sandboxd.db.before-upgrade-0001-" in how_to_restore(moved, {"0001"})


def test_a_damaged_copy_is_none(database: Path) -> None:
    pages = bytearray(database.read_bytes())
    pages[8192:16384] = b"\xff" * 8192
    database.write_bytes(pages)
    with pytest.raises(Unavailable, match="nothing was changed"):
        make_backup(database, "0001", START)
    assert find_backups(database) == ()
    assert not list(database.parent.glob("*.partial*"))


def test_what_a_killed_attempt_left_goes_with_the_next(database: Path) -> None:
    whole = make_backup(database, "0001", START).path
    for suffix in ("", "-journal", "-wal"):
        whole.with_name(f"{whole.name}.partial{suffix}").write_bytes(b"half")
    made = make_backup(database, "0001", START + DAY)
    assert [path.name for path in database.parent.glob("*.before*")] == [made.path.name]
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
