"""Other processes: who holds the lock too long costs a clear refusal, never an update."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import create_engine

from scheduler.errors import Unavailable
from scheduler.store import Limits, Store, StoreConfig, engines
from tests.store.samples import sandbox

SOON = Limits(wait_seconds=0.1)


@contextmanager
def another_writer(url: str) -> Iterator[None]:
    """Hold what every writer of this database needs, from a connection that is not the store's."""
    engine = create_engine(StoreConfig(database_url=url).url())
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.connection.driver_connection.execute("BEGIN IMMEDIATE")  # type: ignore[union-attr]
        engines.begin_writing(connection)
        yield
        connection.rollback()
    engine.dispose()


async def test_a_lock_held_too_long_is_unavailable_and_reading_goes_on(url: str) -> None:
    async with Store.open(StoreConfig(database_url=url), limits=SOON) as store:
        with another_writer(url):
            with pytest.raises(Unavailable, match="kept the database locked"):
                await store.submit(lambda tx: tx.sandboxes.add(sandbox()))
            with pytest.raises(Unavailable, match="kept the database locked"):
                async with store.transaction():
                    pass
            assert (await store.read(lambda tx: tx.sandboxes.find())).items == ()
        await store.submit(lambda tx: tx.sandboxes.add(sandbox("SBX-1")))
        async with store.transaction() as tx:
            await tx.sandboxes.add(sandbox("SBX-2"))
        assert len(await store.read(lambda tx: tx.sandboxes.live())) == 2


async def test_a_lock_held_at_open_is_unavailable(url: str) -> None:
    with another_writer(url), pytest.raises(Unavailable, match="kept the database locked"):
        async with Store.open(StoreConfig(database_url=url), limits=SOON):
            pass
