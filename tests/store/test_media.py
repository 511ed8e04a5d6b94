"""SQLite's file: where it may lie, who may read it, and what happens when its disk fails."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from scheduler.errors import Invalid, ReadOnly
from scheduler.store import Store, StoreConfig, engines
from scheduler.store.media import check_file, file_system
from tests.databases import migrate
from tests.disks import fill, freeze, needs_root
from tests.store.samples import command, sandbox


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    table = tmp_path / "mounts"
    table.write_text(
        "/dev/sda / ext4 rw 0 0\n"
        "server:/export /mnt/over\\040there nfs4 rw 0 0\n"
        f"/dev/sdb {tmp_path} cifs rw 0 0\n"
    )
    return table


def test_the_file_system_of_a_directory_is_known(mounts: Path, tmp_path: Path) -> None:
    assert file_system(Path("/var"), mounts) == "ext4"
    assert file_system(Path("/mnt/over there/deep"), mounts) == "nfs4"
    assert file_system(tmp_path / "x", mounts) == "cifs"
    assert file_system(Path("/var"), tmp_path / "absent") is None


def test_a_remote_file_system_is_refused(mounts: Path, tmp_path: Path) -> None:
    config = StoreConfig(database_url=f"sqlite:///{tmp_path / 'a.db'}")
    with pytest.raises(Invalid, match="would lie on cifs, where SQLite loses data"):
        check_file(config, mounts)
    assert not (tmp_path / "a.db").exists()


@pytest.mark.parametrize(
    ("path", "words"), [("missing/a.db", "does not exist"), ("", "is a directory")]
)
def test_a_place_that_cannot_hold_a_file_is_refused(tmp_path: Path, path: str, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        check_file(StoreConfig(database_url=f"sqlite:///{tmp_path / path}"))


def test_a_new_database_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    migrate(f"sqlite:///{path}")
    for file in tmp_path.glob("a.db*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_every_connection_of_sqlite_is_safe(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    migrate(url)
    made = engines.make(StoreConfig(database_url=url))
    for engine in (made.writer, made.readers):
        with engine.connect() as connection:
            said = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
        assert said == {
            "journal_mode": "wal",
            "synchronous": 2,
            "foreign_keys": 1,
            "busy_timeout": 5000,
        }
        engine.dispose()


@needs_root
async def test_a_full_disk_refuses_writes_goes_on_reading_and_recovers(small_disk: Path) -> None:
    config = StoreConfig(database_url=f"sqlite:///{small_disk / 'sandboxd.db'}")
    async with Store.open(config) as store:
        await store.submit(lambda tx: tx.sandboxes.add(sandbox()))
        ballast = fill(small_disk)
        with pytest.raises(ReadOnly, match="disk is full") as refused:
            await store.submit(lambda tx: tx.commands.add(command(stdout="x" * 300_000)))
        assert "Free space" in str(refused.value.remedy)
        assert (await store.read(lambda tx: tx.sandboxes.get("SBX-1"))).id == "SBX-1"
        assert (await store.read(lambda tx: tx.commands.find("SBX-1"))).items == ()
        ballast.unlink()
        await store.submit(lambda tx: tx.commands.add(command(stdout="x" * 300_000)))


@needs_root
async def test_a_medium_that_became_read_only_goes_on_reading(small_disk: Path) -> None:
    url = f"sqlite:///{small_disk / 'sandboxd.db'}"
    async with Store.open(StoreConfig(database_url=url)) as store:
        await store.submit(lambda tx: tx.sandboxes.add(sandbox()))
    freeze(small_disk)
    with pytest.raises(ReadOnly, match="can only be read"):
        async with Store.open(StoreConfig(database_url=url)):
            pass
    async with Store.open(StoreConfig(database_url=url, read_only=True)) as store:
        assert (await store.read(lambda tx: tx.sandboxes.get("SBX-1"))).id == "SBX-1"
