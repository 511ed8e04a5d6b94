"""The snapshot is read from the store, once a pass and never by a scrape."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from scheduler.metrics.snapshot import MetricsSnapshot, Snapshots
from scheduler.model import Drain, HostState, SandboxState
from scheduler.store import Store, StoreConfig, Transaction
from tests.clocks import ManualClock
from tests.metrics.samples import NOW, host, sandbox


async def test_a_refresh_reads_hosts_counts_drains_and_expiries(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    config = StoreConfig(database_url=f"sqlite:///{tmp_path}/sandboxd.db")
    async with Store.open(config, clock=clock) as store:
        snapshots = Snapshots(store, clock)
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
        assert snapshots.latest() == MetricsSnapshot()
        await snapshots.refresh()
        snapshot = snapshots.latest()
    assert snapshot.taken_at == NOW
    assert [h.name for h in snapshot.hosts] == ["alpha", "beta"]
    assert snapshot.sandboxes == {
        ("HST-1", SandboxState.RUNNING): 2,
        ("HST-1", SandboxState.ERROR): 1,
    }
    assert [drain.id for drain in snapshot.drains] == ["DRN-1"]
    assert snapshot.expired == 1
