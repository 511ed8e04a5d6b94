"""A backup is whole or not there, holds database and keys, and is its owner's alone."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
import stat
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from scheduler.errors import Conflict, Invalid, Unavailable
from scheduler.service.backups import find_backups, forget_backups, make_backup
from tests.clocks import START
from tests.databases import sqlite_at

DAY = timedelta(days=1)
KEYS = ("cluster.id", "cluster.key", "ssh-ca.1", "ssh-ca.1.pub", "ssh-ca.12")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return the state directory of a daemon that has run."""
    there = tmp_path / "state"
    there.mkdir(mode=0o700)
    sqlite_at(there / "sandboxd.db")
    for name in (*KEYS, "ssh-ca.notes", "lock"):
        (there / name).write_text(name)
    return there


def taken(state: Path, directory: Path, days: int = 0) -> Path:
    return make_backup(state, state / "sandboxd.db", directory, START + days * DAY).path


def test_it_holds_the_database_and_the_keys_for_its_owner_only(state: Path, tmp_path: Path) -> None:
    path = taken(state, tmp_path / "a" / "b")
    assert path == tmp_path / "a" / "b" / "sandboxd-20260105T120000Z"
    assert sorted(one.name for one in path.iterdir()) == sorted(("sandboxd.db", *KEYS))
    assert (path / "ssh-ca.12").read_text() == "ssh-ca.12"
    modes = {stat.S_IMODE(one.stat().st_mode) for one in path.iterdir()}
    assert (modes, stat.S_IMODE(path.stat().st_mode)) == ({0o600}, 0o700)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_it_is_of_one_moment_while_others_write(state: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(state / "sandboxd.db")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE pairs (a INTEGER, b INTEGER)")
    over = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(state / "sandboxd.db", isolation_level=None)) as writer:
            number = 0
            while not over.is_set():
                number += 1
                writer.execute("BEGIN IMMEDIATE")
                writer.execute("INSERT INTO pairs (a) VALUES (?)", (number,))
                writer.execute("UPDATE pairs SET b = a WHERE b IS NULL")
                writer.execute("COMMIT")

    writing = threading.Thread(target=write)
    writing.start()
    try:
        copies = [taken(state, tmp_path / "kept", day) for day in range(10)]
    finally:
        over.set()
        writing.join()
    for copy in copies:
        with closing(sqlite3.connect(copy / "sandboxd.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            query = "SELECT count(*) FROM pairs WHERE b IS NOT a"
            assert database.execute(query).fetchone() == (0,)


def test_of_a_server_only_the_keys_are_taken(state: Path, tmp_path: Path) -> None:
    path = make_backup(state, None, tmp_path / "kept", START).path
    assert sorted(one.name for one in path.iterdir()) == sorted(KEYS)


@pytest.mark.parametrize("missing", ["sandboxd.db", "cluster.key"])
def test_a_directory_no_daemon_ran_in_is_refused(state: Path, tmp_path: Path, missing: str) -> None:
    (state / missing).unlink()
    with pytest.raises(Invalid, match=rf"there is no .*{missing} to back up"):
        taken(state, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_a_damaged_database_gives_none(state: Path, tmp_path: Path) -> None:
    pages = bytearray((state / "sandboxd.db").read_bytes())
    pages[8192:16384] = b"\xff" * 8192
    (state / "sandboxd.db").write_bytes(pages)
    with pytest.raises(Unavailable, match="no backup could be made"):
        taken(state, tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []


def test_what_a_killed_one_left_is_none_and_goes(state: Path, tmp_path: Path) -> None:
    half = tmp_path / "kept" / "sandboxd-20260104T120000Z.partial"
    half.mkdir(parents=True)
    (half / "sandboxd.db").write_text("half")
    mine = tmp_path / "kept" / "mine.partial"
    mine.mkdir()
    assert find_backups(tmp_path / "kept", START) == ()
    taken(state, tmp_path / "kept")
    assert not half.exists()
    assert mine.exists()


def test_one_is_made_at_a_time_and_none_replaced(state: Path, tmp_path: Path) -> None:
    path = taken(state, tmp_path / "kept")
    with pytest.raises(Conflict, match="there already"):
        taken(state, tmp_path / "kept")
    assert (path / "sandboxd.db").exists()
    handle = os.open(tmp_path / "kept", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="another backup is being made"):
            taken(state, tmp_path / "kept", 1)
    finally:
        os.close(handle)


def test_a_disk_that_would_be_filled_is_spared(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (state / "sandboxd.db").stat().st_size
    disk = SimpleNamespace(total=10 * size, free=2 * size)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk)
    database = state / "sandboxd.db"
    make_backup(state, database, tmp_path / "kept", START, left_share=0.1)
    with pytest.raises(Unavailable, match=r"would leave less than 11% of its disk"):
        make_backup(state, database, tmp_path / "kept", START + DAY, left_share=0.11)


def test_the_newest_are_kept_and_those_of_the_future_go_first(state: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    for day in (0, 1, 2, 400):
        taken(state, kept, day)
    (kept / "sandboxd-notes").mkdir()
    now = START + 2 * DAY
    assert [(one.made_at - START).days for one in find_backups(kept, now)] == [2, 1, 0, 400]
    forget_backups(kept, now, keep=2)
    assert [(one.made_at - START).days for one in find_backups(kept, now)] == [2, 1]
    assert sorted(one.name for one in kept.iterdir())[-1] == "sandboxd-notes"
    assert find_backups(tmp_path / "nowhere", now) == ()


def test_one_that_cannot_be_removed_is_left(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken(state, tmp_path / "kept")

    def refuse(_path: Path) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    forget_backups(tmp_path / "kept", START, keep=0)
    assert find_backups(tmp_path / "kept", START) == ()


def test_a_name_that_is_no_time_is_nobodys_backup(state: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (kept / "sandboxd-20261301T000000Z").mkdir(parents=True)
    path = taken(state, kept)
    assert [one.path for one in find_backups(kept, START)] == [path]
    assert forget_backups(kept, START, keep=0) == ()
    assert [one.name for one in kept.iterdir()] == ["sandboxd-20261301T000000Z"]


def test_a_directory_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_directory: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(Unavailable, match=r"cannot be read: .*Input/output error"):
        find_backups(tmp_path, START)
    with pytest.raises(Unavailable, match=r"cannot be read: .*Input/output error"):
        forget_backups(tmp_path, START, keep=1)


def test_half_of_one_that_cannot_be_removed_is_told_and_in_nobodys_way(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    first = taken(state, kept)
    half = first.with_name(first.name + ".partial")
    refuse_removing(monkeypatch, half)
    assert forget_backups(kept, START, keep=0) == (half,)
    made = make_backup(state, state / "sandboxd.db", kept, START + DAY)
    assert made.left == (half,)
    assert (made.path / "sandboxd.db").exists()
    monkeypatch.undo()
    assert make_backup(state, state / "sandboxd.db", kept, START + 2 * DAY).left == ()
    assert not half.exists()


def test_one_that_cannot_be_renamed_stays_whole_and_is_told(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = taken(state, tmp_path / "kept")

    def refuse(_path: Path, _target: Path) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(Path, "rename", refuse)
    assert forget_backups(tmp_path / "kept", START, keep=0) == (path,)
    assert (path / "sandboxd.db").exists()


def refuse_removing(monkeypatch: pytest.MonkeyPatch, refused: Path) -> None:
    """Have one directory be another user's."""
    rmtree = shutil.rmtree

    def remove(path: Path, *, ignore_errors: bool = False) -> None:
        if path == refused:
            raise PermissionError("no")
        rmtree(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", remove)
