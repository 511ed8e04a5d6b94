"""A database from before a move is restored: the sandbox is taken home, and nothing is lost."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from scheduler.lifecycle.findings import FindingCode
from scheduler.lifecycle.orphans import OrphanCode
from scheduler.model import AllocationState, DomainState, Sandbox, SandboxState
from scheduler.service.requests import AdoptOrphan
from scheduler.service.services import Services
from tests.clocks import ManualClock
from tests.control.moving import HOSTS, OWNER, Moving, driver_on
from tests.control.trust import trusting
from tests.control.world import DATABASE, FakeDrivers, World, world


@dataclass
class Restored:
    """The state directory after its backup was put back, and the hosts as they went on."""

    directory: Path
    clock: ManualClock
    drivers: FakeDrivers
    before: Sandbox
    after: Sandbox

    @asynccontextmanager
    async def world(self) -> AsyncIterator[tuple[World, Services]]:
        async with world(self.directory, self.clock) as there:
            there.drivers.by_host.update(self.drivers.by_host)
            services = trusting(there)
            for _ in range(3):
                self.clock.advance(30)
                for name in HOSTS:
                    await there.look(name)
                await there.converger.converge(self.before.id)
            yield there, services


@pytest.fixture
async def restored(tmp_path: Path, clock: ManualClock) -> Restored:
    """One that moved from alpha to beta after a backup was made, which is then restored."""
    database, backup = tmp_path / DATABASE, tmp_path / "backup.db"
    async with world(tmp_path, clock) as there:
        for name in HOSTS:
            await there.add_seen_host(name)
        moving = Moving(there)
        before = await moving.stood(ttl_seconds=90_000)
        before = await there.sandbox(before.id)
        with closing(sqlite3.connect(database)) as old, closing(sqlite3.connect(backup)) as copy:
            old.backup(copy)
        after = await moving.moved(before)
        await moving.clear(after)
        drivers = there.drivers
    for suffix in ("", "-wal", "-shm"):
        database.with_name(f"{DATABASE}{suffix}").unlink(missing_ok=True)
    backup.rename(database)
    return Restored(directory=tmp_path, clock=clock, drivers=drivers, before=before, after=after)


async def test_it_is_told_where_it_is(restored: Restored) -> None:
    async with restored.world() as (there, services):
        box = await there.sandbox(restored.before.id)
        assert (box.state, box.host_name) == (SandboxState.ERROR, "alpha")
        report = await services.audits.audit()
        (missing,) = (f for f in report.findings if f.code is FindingCode.DOMAIN_MISSING)
        assert f"sandboxctl orphan adopt beta {box.domain_uuid}" in missing.remedy
        (copy,) = (o for o in report.orphans if o.code is OrphanCode.STRAY_COPY)
        assert (copy.host_name, copy.verbs) == ("beta", ("adopt", "reap"))
        assert "before a move" in copy.remedy


async def test_it_is_taken_home_with_all_that_is_its_own(restored: Restored) -> None:
    before, after = restored.before, restored.after
    async with restored.world() as (there, services):
        beta = await driver_on(there, "beta")
        there_before = dict(beta.host.volumes)
        uuid = after.domain_uuid or ""
        await services.orphans.adopt("beta", uuid, AdoptOrphan(reason="restored"), OWNER)
        moving = Moving(there)
        assert await moving.claims(after) == {
            "alpha": AllocationState.RELEASING,
            "beta": AllocationState.ACTIVE,
        }
        await there.assert_ledger()
        back = await moving.go_on(after)
        assert (back.state, back.host_name) == (SandboxState.RUNNING, "beta")
        for own in ("expires_at", "ssh_public_keys", "ssh_ca", "labels", "mac"):
            assert getattr(back, own) == getattr(before, own), own
        for found in ("base_image", "image_digest", "base_fingerprint", "network"):
            assert getattr(back, found) == getattr(after, found), found
        assert back.moved_at is not None
        await moving.clear(back)
        assert await moving.claims(back) == {"beta": AllocationState.ACTIVE}
        await there.assert_ledger()
        assert beta.host.volumes == there_before
        assert beta.host.domains[uuid].state is DomainState.RUNNING
        report = await services.audits.audit()
        assert (report.findings, [o.kind for o in report.orphans]) == ((), ["volume"])
        kinds = [e.kind for e in await there.events() if e.sandbox_id == back.id]
        assert {"sandbox.moved", "sandbox.adopted", "sandbox.released"} <= {*kinds}

        await services.sandboxes.destroy(back.id, OWNER)
        await there.settle(back.id)
        assert (await there.sandbox(back.id)).state is SandboxState.DESTROYED
        assert uuid not in beta.host.domains
