"""A PostgreSQL server that restarts, crashes or hangs: told clearly, found again by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest

from scheduler.errors import Unavailable
from scheduler.store import Limits, Store, StoreConfig, Transaction
from tests.databases import PATIENT
from tests.fleet.postgres import PostgresCluster
from tests.store.samples import sandbox


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresCluster]:
    """A server that these tests alone may crash."""
    with PostgresCluster.make() as cluster:
        yield cluster


@pytest.fixture
def server(own_server: PostgresCluster) -> Iterator[PostgresCluster]:
    """The server, running again after each test."""
    yield own_server
    own_server.resume()
    own_server.restart()


def open_store(server: PostgresCluster) -> AbstractAsyncContextManager[Store]:
    """Open a store on a database of its own, that does not take a busy server for a dead one."""
    return Store.open(StoreConfig(database_url=server.database()), limits=PATIENT)


def put(name: str, tx: Transaction) -> None:
    tx.settings.put(name, "x")


async def add(store: Store, id: str) -> None:
    await store.submit(lambda tx: tx.sandboxes.add(sandbox(id)))


async def test_a_server_that_crashed_is_found_again(server: PostgresCluster) -> None:
    async with open_store(server) as store:
        await add(store, "SBX-1")
        async with store.transaction() as tx:
            await tx.sandboxes.get("SBX-1")
        server.crash()
        with pytest.raises(Unavailable, match="does not answer"):
            await add(store, "SBX-2")
        with pytest.raises(Unavailable):
            await store.ping()
        with pytest.raises(Unavailable):
            async with store.transaction():
                pass
        server.restart()
        await add(store, "SBX-2")
        await store.ping()
        async with store.transaction() as tx:
            assert len(await tx.sandboxes.live()) == 2


async def test_a_server_that_restarted_while_nobody_asked_is_not_noticed(
    server: PostgresCluster,
) -> None:
    async with open_store(server) as store:
        await add(store, "SBX-1")
        server.restart()
        await add(store, "SBX-2")
        assert len(await store.read(lambda tx: tx.sandboxes.live())) == 2


async def test_a_batch_that_loses_its_server_fails_whole(server: PostgresCluster) -> None:
    def lost(tx: Transaction) -> None:
        server.crash()
        tx.settings.put("late", "x")

    async with open_store(server) as store:
        units: list[Callable[[Transaction], None]] = [partial(put, "a"), lost, partial(put, "b")]
        results = await asyncio.gather(
            *(store.submit(unit) for unit in units), return_exceptions=True
        )
        assert [type(one) for one in results] == [Unavailable] * 3
        assert not any("not known" in str(one) for one in results)
        server.restart()
        await store.submit(partial(put, "c"))
        kept = await store.read(lambda tx: [tx.settings.get(name) for name in ("a", "b", "late")])
        assert kept == [None] * 3


async def test_a_commit_that_loses_its_server_says_what_is_unknown(
    server: PostgresCluster,
) -> None:
    def lost(tx: Transaction) -> None:
        tx.settings.put("perhaps", "x")
        server.crash()

    async with open_store(server) as store:
        with pytest.raises(Unavailable, match="committed is not known") as failed:
            await store.submit(lost)
        assert failed.value.details["outcome"] == "unknown"
        server.restart()
        with pytest.raises(Unavailable, match="committed is not known"):
            await _put_and_lose(store, server)
        server.restart()
        async with store.transaction() as tx:
            await tx.settings.put("surely", "x")


async def _put_and_lose(store: Store, server: PostgresCluster) -> None:
    async with store.transaction() as tx:
        await tx.settings.put("perhaps", "x")
        server.crash()


async def test_i8_a_server_that_hangs_is_not_waited_for(server: PostgresCluster) -> None:
    config = StoreConfig(database_url=server.database())
    server.suspend()
    with pytest.raises(Unavailable, match="does not answer"):
        async with Store.open(config, limits=Limits(connect_seconds=0.1)):
            pass
    server.resume()
    async with Store.open(config, limits=PATIENT) as store:
        await store.ping()
