"""The snapshot is read from the store, once a pass and never by a scrape."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler.errors import ReadOnly
from scheduler.hosts.calls import Calls
from scheduler.metrics.families import families
from scheduler.metrics.snapshot import MetricsSnapshot, Snapshots
from scheduler.model import Drain, HostState, SandboxState
from scheduler.store import Store, StoreConfig, Transaction
from tests.clocks import ManualClock
from tests.metrics.reading import key, values
from tests.metrics.samples import NOW, host, sandbox


async def test_a_refresh_reads_hosts_counts_drains_and_expiries(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    config = StoreConfig(database_url=f"sqlite:///{tmp_path}/sandboxd.db")
    async with Store.open(config, clock=clock) as store:
        calls = Calls()
        snapshots = Snapshots(
            store, clock, calls=calls, placeable=lambda: 7, stale_after_seconds=90.0
        )
        assert snapshots.latest() == MetricsSnapshot()

        def write(tx: Transaction) -> None:
            tx.hosts.add(host(state=HostState.DRAINING))
            tx.hosts.add(host(id="HST-2", name="beta", state=HostState.DRAINING))
            over = NOW - timedelta(seconds=1)
            boxes = (
                sandbox(SandboxState.RUNNING, expires_at=over),
                sandbox(SandboxState.RUNNING, expires_at=NOW + timedelta(hours=1)),
                sandbox(SandboxState.ERROR),
            )
            for number, box in enumerate(boxes):
                tx.sandboxes.add(replace(box, id=f"SBX-{number}", sandbox_name=f"box-{number}"))
            drain = Drain(
                id="DRN-1", host_id="HST-1", host_name="alpha", actor="ana", started_at=NOW
            )
            tx.drains.add(drain)

        await store.submit(write)
        assert snapshots.latest() == MetricsSnapshot(timings=store.timings)
        await snapshots.refresh()
        snapshot = snapshots.latest()
    assert (snapshot.taken_at, snapshot.stale_after_seconds) == (NOW, 90)
    assert [h.name for h in snapshot.hosts] == ["alpha", "beta"]
    assert snapshot.sandboxes == {
        ("HST-1", SandboxState.RUNNING): 2,
        ("HST-1", SandboxState.ERROR): 1,
    }
    assert [drain.id for drain in snapshot.drains] == ["DRN-1"]
    assert snapshot.expired == 1
    assert snapshot.placeable == 7
    assert snapshot.calls is calls


async def test_the_store_s_condition_is_told_when_it_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "sandboxd.db"
    async with Store.open(StoreConfig(database_url=f"sqlite:///{path}")) as store:
        snapshots = Snapshots(store, ManualClock(NOW), calls=Calls(), placeable=lambda: 0)
        before = values(families(snapshots.latest(), NOW))
        with closing(sqlite3.connect(path)) as newer, newer:
            newer.execute("ALTER TABLE hosts RENAME TO machines")
        with pytest.raises(ReadOnly, match="no longer the one"):
            await snapshots.refresh()
        after = values(families(snapshots.latest(), NOW))
    counted = key("store_faults_total", fault="other_schema")
    told = [
        (s[key("store_readable")], s[key("store_writable")], s[counted]) for s in (before, after)
    ]
    assert told == [(1.0, 1.0, 0.0), (0.0, 1.0, 1.0)]
