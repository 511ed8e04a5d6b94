"""Upgrades: a copy first, all of it or nothing, and a way back that the refusal spells out."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from scheduler.errors import Invalid, ReadOnly, SandboxdError, Unavailable
from scheduler.store import Store, StoreConfig, engines, schema
from scheduler.store.backups import find_backups
from scheduler.store.tables import metadata
from scheduler.store.values import micros
from tests.clocks import START
from tests.databases import PATIENT
from tests.disks import fill, needs_root
from tests.store.samples import sandbox
from tests.store.upgrade import (
    ALONG_THE_BACKUP,
    IN_THE_REVISION,
    NEWEST,
    NEXT,
    newer_migrations,
    upgrade,
)

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    return newer_migrations(tmp_path)


async def remember(url: str, id: str) -> None:
    async with Store.open(StoreConfig(database_url=url), limits=PATIENT) as store:
        await store.submit(lambda tx: tx.sandboxes.add(sandbox(id, sandbox_name=id.lower())))


async def remembered(url: str) -> set[str]:
    async with Store.open(StoreConfig(database_url=url), limits=PATIENT) as store:
        return {one.id for one in await store.read(lambda tx: tx.sandboxes.live())}


def schema_of(url: str) -> tuple[str, bool, bool]:
    """Return a database's revision, and whether each change of the newer one is there."""
    engine = create_engine(StoreConfig(database_url=url).url())
    with engine.connect() as connection:
        version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        seen = inspect(connection)
        coloured = "colour" in {column["name"] for column in seen.get_columns("sandboxes")}
        dropped = "publications" not in seen.get_table_names()
    engine.dispose()
    return version, coloured, dropped


def is_writable(store: Store) -> bool:
    return store.condition.writing is None


OLD, NEW = (NEWEST, False, False), (NEXT, True, True)


def path_of(url: str) -> Path:
    path = StoreConfig(database_url=url).sqlite_path
    assert path is not None
    return path


async def test_a_copy_that_only_its_owner_reads_is_made_before_the_upgrade(
    sqlite_url: str, newer: Path
) -> None:
    await remember(sqlite_url, "SBX-1")
    upgrade(sqlite_url, newer)
    assert schema_of(sqlite_url) == NEW
    (backup,) = find_backups(path_of(sqlite_url))
    assert (backup.revision, backup.made_at) == (NEWEST, START)
    assert stat.S_IMODE(backup.path.stat().st_mode) == 0o600
    assert await remembered(f"sqlite:///{backup.path}") == {"SBX-1"}
    upgrade(sqlite_url, newer)
    assert find_backups(path_of(sqlite_url)) == (backup,), "nothing to change, nothing to copy"


async def test_an_upgrade_may_take_as_long_as_it_needs(empty_url: str, newer: Path) -> None:
    """The revision itself looks at what would cut it off; afterwards statements are bounded."""
    upgrade(empty_url, newer)
    assert schema_of(empty_url) == NEW
    engine = engines.make(StoreConfig(database_url=empty_url)).writer
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "1min"
    engine.dispose()


async def test_what_is_still_in_the_log_is_in_the_copy(sqlite_url: str, newer: Path) -> None:
    """Another process keeps the database open: nothing has moved the log into the file."""
    with sqlite3.connect(path_of(sqlite_url)) as other:
        other.execute("SELECT count(*) FROM sandboxes").fetchone()
        await remember(sqlite_url, "SBX-1")
        log = path_of(sqlite_url).with_name(path_of(sqlite_url).name + "-wal")
        assert log.stat().st_size > 0
        upgrade(sqlite_url, newer)
    other.close()
    (backup,) = find_backups(path_of(sqlite_url))
    assert await remembered(f"sqlite:///{backup.path}") == {"SBX-1"}


def test_a_new_database_needs_no_copy(tmp_path: Path, newer: Path) -> None:
    upgrade(f"sqlite:///{tmp_path / 'new.db'}", newer)
    assert find_backups(tmp_path / "new.db") == ()


async def test_an_upgrade_that_fails_leaves_the_old_schema(
    url: str, newer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await remember(url, "SBX-1")
    monkeypatch.setenv("FAIL", "1")
    with pytest.raises(SandboxdError, match=r"nonsense|nowhere"):
        upgrade(url, newer)
    assert schema_of(url) == OLD
    assert await remembered(url) == {"SBX-1"}


def kill_at(point: str, url: str, migrations: Path) -> None:
    """Upgrade in a process that kills itself there."""
    died = subprocess.run(
        [sys.executable, "-m", "tests.store.upgrade", url, migrations],
        env={**os.environ, "DIE_AT": point},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr


@pytest.mark.parametrize("point", IN_THE_REVISION)
async def test_i9_killed_amid_the_changes_it_has_the_old_schema(
    url: str, newer: Path, point: str
) -> None:
    await remember(url, "SBX-1")
    try:
        kill_at(point, url, newer)
        assert schema_of(url) == OLD
        assert await remembered(url) == {"SBX-1"}
        if url.startswith("sqlite"):
            (backup,) = find_backups(path_of(url))
            assert await remembered(f"sqlite:///{backup.path}") == {"SBX-1"}
        upgrade(url, newer)
        assert schema_of(url) == NEW
    finally:
        _as_before(url)


@pytest.mark.parametrize("point", ALONG_THE_BACKUP)
async def test_killed_along_the_backup_nothing_half_counts_or_stays(
    sqlite_url: str, newer: Path, point: str
) -> None:
    await remember(sqlite_url, "SBX-1")
    kill_at(point, sqlite_url, newer)
    assert schema_of(sqlite_url) == OLD
    database = path_of(sqlite_url)
    whole = point == ALONG_THE_BACKUP[2]
    assert len(find_backups(database)) == whole
    assert bool(list(database.parent.glob("*.partial*"))) != whole
    upgrade(sqlite_url, newer)
    assert schema_of(sqlite_url) == NEW
    assert not list(database.parent.glob("*.partial*"))
    (backup,) = find_backups(database)
    assert await remembered(f"sqlite:///{backup.path}") == {"SBX-1"}


async def test_who_goes_back_is_told_how_and_it_works(sqlite_url: str, newer: Path) -> None:
    await remember(sqlite_url, "SBX-1")
    upgrade(sqlite_url, newer)
    with pytest.raises(Invalid, match=rf"schema \({NEXT}\) is newer .* \({NEWEST}\)") as refused:
        await remembered(sqlite_url)
    assert schema_of(sqlite_url) == NEW
    database, remedy = path_of(sqlite_url), str(refused.value.remedy)
    assert "2026-01-05 12:00 UTC" in remedy
    _follow(remedy, database)
    assert await remembered(sqlite_url) == {"SBX-1"}
    assert stat.S_IMODE(database.stat().st_mode) == 0o600


async def test_no_backup_is_named_that_would_not_do(sqlite_url: str, newer: Path) -> None:
    upgrade(sqlite_url, newer)
    (made,) = find_backups(path_of(sqlite_url))
    made.path.rename(made.path.with_name(made.path.name.replace(f"-{NEWEST}-", "-0000-")))
    with pytest.raises(Invalid) as refused:
        await remembered(sqlite_url)
    assert "No backup of a schema that this one knows" in str(refused.value.remedy)


def test_a_server_is_dumped_by_its_operator(postgres_url: str, newer: Path) -> None:
    config = StoreConfig(database_url=postgres_url, auto_migrate=False)
    try:
        with pytest.raises(Invalid, match=f"has the schema {NEWEST}, not {NEXT}") as refused:
            _ensured(config, newer)
        assert "pg_dump" in str(refused.value.remedy)
        upgrade(postgres_url, newer)
        with pytest.raises(Invalid, match="newer than this sandboxd") as refused:
            _ensured(StoreConfig(database_url=postgres_url), None)
        assert "restore the dump" in str(refused.value.remedy)
    finally:
        _as_before(postgres_url)


async def test_i12_a_newer_schema_that_appears_meanwhile_is_not_written_to(
    url: str, newer: Path
) -> None:
    try:
        async with Store.open(StoreConfig(database_url=url), limits=PATIENT) as store:
            await store.submit(lambda tx: tx.settings.put("before", "x"))
            upgrade(url, newer)
            with pytest.raises(ReadOnly, match="no longer the one") as refused:
                await store.submit(lambda tx: tx.settings.put("after", "x"))
            assert refused.value.details["medium"] == "other_schema"
            with pytest.raises(ReadOnly, match="no longer the one"):
                async with store.transaction() as tx:
                    await tx.settings.put("after", "x")
            kept = await store.read(
                lambda tx: (tx.settings.get("before"), tx.settings.get("after"))
            )
            assert kept == ("x", None)
            with pytest.raises(ReadOnly, match="no longer the one"):
                await store.read(lambda tx: tx.publications.find())
            await store.probe()
            assert not is_writable(store)
            _as_before(url)
            await store.probe()
            assert is_writable(store)
            await store.submit(lambda tx: tx.settings.put("after", "x"))
    finally:
        _as_before(url)


@needs_root
def test_a_copy_for_which_there_is_no_room_stops_the_upgrade(small_disk: Path, newer: Path) -> None:
    url = f"sqlite:///{small_disk / 'sandboxd.db'}"
    _ensured(StoreConfig(database_url=url), None)
    ballast = fill(small_disk)
    with pytest.raises(Unavailable, match="no backup could be made before the upgrade") as refused:
        upgrade(url, newer)
    assert "Free 1 MiB" in str(refused.value.remedy)
    assert schema_of(url) == OLD
    assert find_backups(path_of(url)) == ()
    assert not list(small_disk.glob("*.partial*"))
    ballast.unlink()
    upgrade(url, newer)
    assert schema_of(url) == NEW


def _follow(remedy: str, database: Path) -> None:
    """Do what the remedy says, as an operator would."""
    for path in (database, Path(f"{database}-wal"), Path(f"{database}-shm")):
        assert str(path) in remedy
        if path.exists():
            shutil.move(path, f"{path}.kept")
    subprocess.run(remedy.partition("run: ")[2], shell=True, check=True)


def _ensured(config: StoreConfig, migrations: Path | None) -> None:
    engine = engines.make(config, PATIENT).writer
    try:
        schema.ensure(engine, config, now=START, migrations=migrations or schema.MIGRATIONS)
    finally:
        engine.dispose()


def _as_before(url: str) -> None:
    """Undo the test's revision: databases on the server are shared."""
    if schema_of(url) == OLD:
        return
    engine = create_engine(StoreConfig(database_url=url).url())
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE sandboxes DROP COLUMN colour"))
        metadata.tables["publications"].create(connection)
        connection.execute(text(f"UPDATE alembic_version SET version_num = '{NEWEST}'"))
    engine.dispose()


_DRAIN = """
INSERT INTO drains (id, host_id, host_name, state, policy, on_deadline, reason, actor,
    deadline_at, total, remaining, started_at)
VALUES ('%s', '%s', 'alpha', 'ACTIVE', 'expire', 'destroy', '', 'uid:0', %s, 1, 1, %d)
"""


async def test_a_drain_under_way_knows_what_it_was_begun_with(
    empty_url: str, tmp_path: Path
) -> None:
    """So that a client that repeats itself does not put the deadline off after an upgrade."""
    before = tmp_path / "migrations"
    shutil.copytree(schema.MIGRATIONS, before, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (before / "versions").glob("[0-9]*.py"):
        if file.name >= "0020":
            file.unlink()
    upgrade(empty_url, before)
    begun = micros(START)
    engine = create_engine(StoreConfig(database_url=empty_url).url())
    with engine.begin() as connection:
        for id, host, until in (
            ("DRN-1", "HST-1", begun + 86_400 * 10**6),
            ("DRN-2", "HST-2", None),
        ):
            given = (id, host, "NULL" if until is None else until, begun)
            connection.execute(text(_DRAIN % given))
    engine.dispose()
    async with Store.open(StoreConfig(database_url=empty_url)) as store:
        found = await store.read(lambda tx: [tx.drains.get(id) for id in ("DRN-1", "DRN-2")])
    assert [drain.deadline_seconds for drain in found] == [86_400, None]
