"""Migrations: no drift on either engine, and every database that is not ours is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text

from scheduler.errors import Invalid, ReadOnly, Unavailable
from scheduler.store import Store, StoreConfig
from scheduler.store.tables import metadata
from tests.databases import PATIENT, migrate
from tests.store.samples import sandbox
from tests.store.upgrade import NEWEST


async def opened(url: str, **config: bool) -> None:
    async with Store.open(StoreConfig(database_url=url, **config), limits=PATIENT) as store:
        await store.ping()


def run(url: str, statement: str) -> None:
    engine = create_engine(StoreConfig(database_url=url).url())
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def tables(url: str) -> list[str]:
    engine = create_engine(StoreConfig(database_url=url).url())
    names = inspect(engine).get_table_names()
    engine.dispose()
    return names


def test_the_migrations_make_exactly_the_schema_of_the_code(empty_url: str) -> None:
    migrate(empty_url)
    engine = create_engine(StoreConfig(database_url=empty_url).url())
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        checks = inspect(connection).get_check_constraints("hosts")
        assert len(checks) == 4
        (deferred,) = [
            key
            for key in inspect(connection).get_foreign_keys("allocations")
            if key["constrained_columns"] == ["sandbox_id"]
        ]
        assert deferred["options"]["initially"] == "DEFERRED"
    engine.dispose()


async def test_opening_twice_changes_nothing(empty_url: str) -> None:
    async with Store.open(StoreConfig(database_url=empty_url)) as store:
        await store.submit(lambda tx: tx.sandboxes.add(sandbox()))
    async with Store.open(StoreConfig(database_url=empty_url, auto_migrate=False)) as store:
        assert (await store.read(lambda tx: tx.sandboxes.get("SBX-1"))).id == "SBX-1"


async def test_several_may_open_an_empty_database_at_once(empty_url: str) -> None:
    await asyncio.gather(*(opened(empty_url) for _ in range(4)))


async def test_without_migrating_an_empty_database_is_refused_with_the_way_out(
    empty_url: str,
) -> None:
    with pytest.raises(Invalid, match="the database is empty") as refused:
        await opened(empty_url, auto_migrate=False)
    assert "auto_migrate" in str(refused.value.remedy)
    assert "alembic_version" not in tables(empty_url)


async def test_an_empty_database_that_may_only_be_read_is_refused(empty_url: str) -> None:
    with pytest.raises(Invalid, match=r"the database is empty|there is no database") as refused:
        await opened(empty_url, read_only=True)
    assert "Start sandboxd once" in str(refused.value.remedy)


async def test_a_newer_schema_is_refused_and_left_alone(empty_url: str) -> None:
    migrate(empty_url)
    run(empty_url, "UPDATE alembic_version SET version_num = '9999'")
    for config in ({}, {"read_only": True}, {"auto_migrate": False}):
        with pytest.raises(Invalid, match="newer than this sandboxd knows") as refused:
            await opened(empty_url, **config)
        assert "Run that newer sandboxd again" in str(refused.value.remedy)
    run(empty_url, f"UPDATE alembic_version SET version_num = '{NEWEST}'")
    await opened(empty_url)


async def test_a_read_only_store_reads_and_refuses_every_write(url: str) -> None:
    async with Store.open(StoreConfig(database_url=url)) as store:
        await store.submit(lambda tx: tx.sandboxes.add(sandbox()))
    async with Store.open(StoreConfig(database_url=url, read_only=True)) as store:
        await store.ping()
        assert (await store.read(lambda tx: tx.sandboxes.get("SBX-1"))).id == "SBX-1"
        with pytest.raises(ReadOnly):
            await store.submit(lambda tx: tx.sandboxes.add(sandbox("SBX-2")))
        async with store.transaction() as tx:
            assert (await tx.sandboxes.get("SBX-1")).id == "SBX-1"
            with pytest.raises(ReadOnly, match="only reads"):
                await tx.sandboxes.add(sandbox("SBX-2"))
            with pytest.raises(ReadOnly):
                await tx.settings.put("cluster", "x")


async def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, not a database" * 200)
    before = path.read_bytes()
    with pytest.raises(Invalid, match="damaged or is not a database") as refused:
        await opened(f"sqlite:///{path}")
    assert "backup" in str(refused.value.remedy)
    assert path.read_bytes() == before


async def test_a_damaged_page_is_found_at_open(tmp_path: Path) -> None:
    path = tmp_path / "sandboxd.db"
    async with Store.open(StoreConfig(database_url=f"sqlite:///{path}")) as store:
        await store.submit(lambda tx: [tx.sandboxes.add(sandbox(f"SBX-{n}")) for n in range(200)])
    pages = bytearray(path.read_bytes())
    pages[len(pages) // 2 : len(pages) // 2 + 8192] = b"\xff" * 8192
    path.write_bytes(pages)
    with pytest.raises(Invalid, match="damaged"):
        await opened(f"sqlite:///{path}")
    assert path.read_bytes() == pages


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        await opened("postgres://nobody@127.0.0.1:1/none?sslmode=disable")


def test_a_migration_that_fails_leaves_nothing_behind(empty_url: str) -> None:
    # A table in the way of the last but one that the first revision makes.
    run(empty_url, "CREATE TABLE playbook_tasks (id TEXT)")
    with pytest.raises(Unavailable, match="already exists"):
        migrate(empty_url)
    assert tables(empty_url) == ["playbook_tasks"]
