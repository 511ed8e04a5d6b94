"""What callers see while the database fails: why, what to do, and that nothing was half done."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from scheduler.api.app import build_app
from scheduler.api.listener import serve
from scheduler.model import Event
from scheduler.store import Store, StoreConfig, Transaction
from tests.api.conftest import client
from tests.clocks import ManualClock
from tests.disks import break_down, ext4, fill, needs_root, repair, sealed
from tests.fleet.postgres import PostgresCluster
from tests.fleet.process import wait_until
from tests.service.planes import IMAGE, Plane, database, plane
from tests.store.upgrade import NEWEST, NEXT

Served = tuple[httpx2.AsyncClient, Plane]
Serve = Callable[[StoreConfig], AbstractAsyncContextManager[Served]]
BODY = {"base_image": IMAGE, "agent_id": "ana"}


@pytest.fixture
def served(socket_path: Path, clock: ManualClock) -> Serve:
    """Serves the application over a database of the test's choice, with one host."""

    @asynccontextmanager
    async def serving(config: StoreConfig) -> AsyncIterator[Served]:
        async with plane(config, clock) as cloud:
            await cloud.add_host("alpha")
            app = build_app(cloud.services)
            async with (
                serve(app, socket_path, group=None, on_stop=cloud.journal.close),
                client(socket_path) as http,
            ):
                assert (await http.post("/v1/sandboxes", json=BODY)).status_code == 202
                yield http, cloud

    return serving


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresCluster]:
    """A server that these tests alone may break."""
    with PostgresCluster.make() as cluster:
        yield cluster


async def refused(http: httpx2.AsyncClient, method: str, path: str, **sent: Any) -> dict[str, Any]:
    """Ask for something that the database refuses; return the problem document."""
    answer = await http.request(method, path, **sent)
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = answer.json()
    assert told["remediation"]
    assert answer.headers["retry-after"] == str(told["retry_after"])
    return told


async def create_is_refused(http: httpx2.AsyncClient, code: str, medium: str) -> None:
    told = await refused(http, "POST", "/v1/sandboxes", json=BODY)
    assert (told["code"], told["medium"]) == (code, medium)
    not_ready = await refused(http, "GET", "/readyz")
    assert (not_ready["code"], not_ready["medium"]) == (code, medium)
    assert (await http.get("/healthz")).status_code == 200


async def names(http: httpx2.AsyncClient) -> int:
    """Return how many sandboxes are listed."""
    answer = await http.get("/v1/sandboxes")
    assert answer.status_code == 200, answer.text
    return len(answer.json()["items"])


async def works_again(http: httpx2.AsyncClient, cloud: Plane, *, before: int = 1) -> None:
    """All is as before the fault, without a restart, and goes on."""
    await cloud.store.probe()
    assert (await http.get("/readyz")).status_code == 200
    assert await names(http) == before
    assert (await http.post("/v1/sandboxes", json=BODY)).status_code == 202
    found, (host,) = await cloud.store.read(lambda tx: (tx.allocations.audit(), tx.hosts.all()))
    assert found == ()
    assert host.reserved_sandboxes == before + 1
    assert cloud.fleet.hosts()[0].reserved_cpus == host.reserved_cpus


@needs_root
async def test_a_full_disk(served: Serve, small_disk: Path) -> None:
    async with served(database(small_disk)) as (http, cloud):
        ballast = fill(small_disk, leave=0)
        await create_is_refused(http, "read_only", "full")
        assert await names(http) == 1
        assert cloud.store.condition.met["full"] >= 1
        ballast.unlink()
        await works_again(http, cloud)


async def the_next_is_not_known(http: httpx2.AsyncClient) -> None:
    """What broke off in the middle may have been done: nobody says that it was not."""
    told = await refused(http, "POST", "/v1/sandboxes", json=BODY)
    assert (told["medium"], told["outcome"]) == ("gone", "unknown")


@needs_root
async def test_files_that_became_read_only(served: Serve, tmp_path: Path) -> None:
    with ext4(tmp_path / "image", tmp_path / "disk") as disk:
        config = database(disk)
        async with served(config) as (http, cloud):
            with sealed(disk / "state.db", disk / "state.db-wal"):
                await the_next_is_not_known(http)
                await create_is_refused(http, "read_only", "read_only")
                assert await names(http) == 1
                await cloud.store.probe()
                assert (await http.get("/readyz")).status_code == 503
            await works_again(http, cloud)


@needs_root
async def test_a_file_system_that_broke_down(served: Serve, tmp_path: Path) -> None:
    """Only who stops the daemon can repair it; all that was acknowledged is there then."""
    image, point = tmp_path / "image", tmp_path / "disk"
    with ext4(image, point) as disk:
        config = database(disk)
        with (disk / "state.db").open("rb") as copied:
            os.fsync(copied.fileno())
        async with served(config) as (http, _cloud):
            break_down(disk)
            await the_next_is_not_known(http)
            await create_is_refused(http, "read_only", "read_only")
            assert await names(http) == 1
    with ext4(repair(image), point) as disk:
        async with Store.open(database(disk)) as store:
            (kept,) = await store.read(lambda tx: tx.sandboxes.live())
            another = replace(kept, id="SBX-2", sandbox_name="another")
            await store.submit(lambda tx: tx.sandboxes.add(another))
            assert await store.read(lambda tx: tx.sandboxes.live()) == (kept, another)


async def test_another_process_that_keeps_the_lock(served: Serve, tmp_path: Path) -> None:
    config = database(tmp_path)
    async with served(config) as (http, cloud):
        with closing(sqlite3.connect(config.sqlite_path or "", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await create_is_refused(http, "unavailable", "locked")
            assert await names(http) == 1
            await cloud.store.probe()
            assert (await http.get("/readyz")).status_code == 503
        await works_again(http, cloud)


async def test_damage_is_told_and_nothing_is_written_any_more(
    served: Serve, tmp_path: Path
) -> None:
    config = database(tmp_path)
    async with served(config) as (http, cloud):
        now = cloud.clock.now()

        def journal(tx: Transaction) -> None:
            for _ in range(4000):
                tx.events.add(Event(at=now, kind="test.noise", message="x" * 2000))

        await cloud.store.submit(journal)
        mangled = mangle(config)
        told = await refused(http, "GET", "/v1/events?last=1000&limit=1000")
        assert (told["code"], told["medium"]) == ("unavailable", "damaged")
        assert "restore" in told["remediation"]
        await create_is_refused(http, "unavailable", "damaged")
        await cloud.store.probe()
        assert (await http.get("/readyz")).status_code == 503, "it does not go away by itself"
    assert (config.sqlite_path or tmp_path).stat().st_size == mangled, "never recreated"


def mangle(config: StoreConfig) -> int:
    """Overwrite the newer half of a database's pages and return its size."""
    assert config.sqlite_path is not None
    with closing(sqlite3.connect(config.sqlite_path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    size = config.sqlite_path.stat().st_size
    with config.sqlite_path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * (size - size // 2))
    return size


async def test_a_server_that_is_lost_and_comes_back(served: Serve, server: PostgresCluster) -> None:
    async with served(StoreConfig(database_url=server.database())) as (http, cloud):
        server.crash()
        told = await refused(http, "POST", "/v1/sandboxes", json=BODY)
        assert (told["code"], told["medium"]) == ("unavailable", "gone")
        assert (await refused(http, "GET", "/v1/sandboxes"))["medium"] == "gone"
        assert (await refused(http, "GET", "/readyz"))["medium"] == "gone"
        assert (await http.get("/healthz")).status_code == 200
        server.restart()
        await works_again(http, cloud)


async def test_a_server_that_became_a_replica(served: Serve, server: PostgresCluster) -> None:
    """Its sessions are read-only from one transaction to the next."""
    url = server.database()
    async with served(StoreConfig(database_url=url)) as (http, cloud):
        become_read_only(url, "on")
        try:
            await create_is_refused(http, "read_only", "read_only")
            assert await names(http) == 1
        finally:
            become_read_only(url, "off")
        await works_again(http, cloud)


def become_read_only(url: str, value: str) -> None:
    """Have the whole server refuse writes, sessions that are open included."""
    writable = "-c default_transaction_read_only=off"
    with psycopg.connect(url, autocommit=True, options=writable) as connection:
        connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        connection.execute("SELECT pg_reload_conf()")

    def says_so() -> bool:
        with psycopg.connect(url) as asked:
            return asked.execute("SHOW default_transaction_read_only").fetchone() == (value,)

    # It is told by a signal; a new session says when that has arrived.
    wait_until(says_so, what=f"default_transaction_read_only {value}")


async def test_a_newer_schema_that_appears_meanwhile(served: Serve, tmp_path: Path) -> None:
    config = database(tmp_path)
    async with served(config) as (http, cloud):
        set_schema(config, NEXT)
        await create_is_refused(http, "read_only", "other_schema")
        assert await names(http) == 1
        set_schema(config, NEWEST)
        await works_again(http, cloud)


def set_schema(config: StoreConfig, revision: str) -> None:
    with closing(sqlite3.connect(config.sqlite_path or "")) as newer, newer:
        newer.execute("UPDATE alembic_version SET version_num = ?", (revision,))
