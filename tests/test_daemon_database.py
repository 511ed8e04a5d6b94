"""A daemon whose database fails: it goes on, says so, and is as before once the fault is gone."""

from __future__ import annotations

import json
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli.failures import Failure
from tests.disks import ext4, fill, mounted, needs_root, sealed
from tests.fleet.postgres import PostgresCluster
from tests.fleet.process import wait_until
from tests.metrics.reading import key, read
from tests.proof.daemon import Daemon, running

CONFIG = """
[lifecycle]
poll_seconds = 1
[metrics]
listen = "127.0.0.1:0"
"""
BODY = {
    "base_image": "debian-12.qcow2",
    "agent_id": "test",
    "vcpus": 1,
    "memory_mb": 256,
    "storage_mb": 2048,
}
LIMIT_S = 180.0


@pytest.fixture
def server() -> Iterator[PostgresCluster]:
    with PostgresCluster.make() as cluster:
        yield cluster


def comes_up(sandboxd: Daemon) -> None:
    """Create a sandbox and see it run: every loop that this takes does its work."""
    wait_until(sandboxd.is_ready, what="ready", limit_s=LIMIT_S)
    assert is_writable(sandboxd)
    wait_until(
        lambda: any(one["health"] == "UP" for one in sandboxd.api.get("/v1/hosts")["items"]),
        what="a host UP",
        limit_s=LIMIT_S,
    )
    created = sandboxd.api.post("/v1/sandboxes", BODY)
    sandboxd.wait_for(created["id"], state="RUNNING", seconds=LIMIT_S)


def fault_of(sandboxd: Daemon) -> str | None:
    """Return what /readyz says is wrong with the database."""
    try:
        sandboxd.api.get("/readyz")
    except Failure as failure:
        document: dict[str, Any] = dict(failure.document or {})
        return document.get("medium")
    return None


def is_writable(sandboxd: Daemon) -> bool:
    """Return what the metrics say."""
    told = (json.loads(line) for line in sandboxd.log.read_text().splitlines())
    port = next(line["port"] for line in told if line["event"] == "metrics")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=180) as page:
        return read(page.read())[key("store_writable")] == 1.0


def fails_by(sandboxd: Daemon, fault: str) -> None:
    """Wait until the daemon says what is wrong; it answers all the while and refuses to create."""
    wait_until(lambda: fault_of(sandboxd) == fault, what=f"not ready: {fault}", limit_s=LIMIT_S)
    with pytest.raises(Failure) as refused:
        sandboxd.api.post("/v1/sandboxes", BODY)
    assert refused.value.hint
    assert sandboxd.api.get("/healthz") == {"status": "ok"}


def ends_well(sandboxd: Daemon, pid: int) -> None:
    """It is still the same process, met no bug, and ends as it should."""
    assert sandboxd.process is not None
    assert sandboxd.process.pid == pid
    assert "Traceback" not in sandboxd.log_tail()
    assert sandboxd.stop() == 0


@needs_root
@pytest.mark.timeout(600)
def test_sqlite_full_and_locked(tmp_path: Path) -> None:
    with (
        mounted(tmp_path / "state", "8m") as disk,
        running(tmp_path, CONFIG, "--demo") as sandboxd,
    ):
        assert sandboxd.process is not None
        pid = sandboxd.process.pid
        comes_up(sandboxd)

        ballast = fill(disk, leave=0)
        fails_by(sandboxd, "full")
        # What a write that failed took of the disk may do for a smaller one, which is soon over.
        wait_until(lambda: not is_writable(sandboxd), what="not writable", limit_s=LIMIT_S)
        assert len(sandboxd.api.get("/v1/sandboxes")["items"]) == 1
        ballast.unlink()
        comes_up(sandboxd)

        path = disk / "sandboxd.db"
        # The daemon may be at work in it, which only takes longer where the machine is busy.
        with closing(sqlite3.connect(path, isolation_level=None, timeout=LIMIT_S)) as other:
            other.execute("BEGIN IMMEDIATE")
            fails_by(sandboxd, "locked")
            assert len(sandboxd.api.get("/v1/sandboxes")["items"]) == 2
        comes_up(sandboxd)
        ends_well(sandboxd, pid)


@needs_root
@pytest.mark.timeout(600)
def test_sqlite_that_can_only_be_read(tmp_path: Path) -> None:
    with (
        ext4(tmp_path / "image", tmp_path / "state") as disk,
        running(tmp_path, CONFIG, "--demo") as sandboxd,
    ):
        assert sandboxd.process is not None
        pid = sandboxd.process.pid
        comes_up(sandboxd)
        with sealed(disk / "sandboxd.db", disk / "sandboxd.db-wal"):
            fails_by(sandboxd, "read_only")
            assert not is_writable(sandboxd)
            assert len(sandboxd.api.get("/v1/sandboxes")["items"]) == 1
        comes_up(sandboxd)
        assert len(sandboxd.api.get("/v1/sandboxes")["items"]) == 2
        ends_well(sandboxd, pid)


@pytest.mark.timeout(600)
def test_postgresql_lost_and_back(tmp_path: Path, server: PostgresCluster) -> None:
    url = server.database()
    config = f'{CONFIG}[store]\ndatabase_url = "{url}"\n'
    with running(tmp_path, config, "--demo") as sandboxd:
        assert sandboxd.process is not None
        pid = sandboxd.process.pid
        comes_up(sandboxd)
        server.crash()
        fails_by(sandboxd, "gone")
        assert not is_writable(sandboxd)
        server.restart()
        comes_up(sandboxd)
        assert len(sandboxd.api.get("/v1/sandboxes")["items"]) == 2
        ends_well(sandboxd, pid)
