"""A control plane without loops: a real store and the services over it, hosts at will.

Nothing here is faked but time. What the loops would prove is written by the tests themselves,
through the store, as the loops do it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Unpack
from uuid import UUID

from scheduler.clock import Clock
from scheduler.control.listings import Listings
from scheduler.guests.inventory import Bounds
from scheduler.guests.manifests import Limits, Manifests
from scheduler.model import (
    ChangeDiff,
    ChangeSet,
    Diff,
    HostHealth,
    HostResources,
    Sandbox,
    SandboxState,
    Verification,
    VerificationPhase,
    VerificationResult,
)
from scheduler.publishing.change_files import ChangeFiles
from scheduler.publishing.forges import Forges
from scheduler.service.catalogue import Shelf
from scheduler.service.errands import Errands
from scheduler.service.fleet import FleetView
from scheduler.service.intents import Intent
from scheduler.service.journal import Journal
from scheduler.service.requests import CreateSandbox
from scheduler.service.services import Services, Untold, Wakes
from scheduler.service.terms import Terms
from scheduler.store import HostFacts, Store, StoreConfig, Transaction
from scheduler.validation.hosts import AddHost
from tests.databases import sqlite_at
from tests.store import samples

CLUSTER = UUID("6a0b2a0e-7a0a-4f0e-9d59-0a3f5f9f3a11")
IMAGE = "debian-12.qcow2"
ME = "uid:1000"
AUTHORITY = "SHA256:authority"
"""The fingerprint of the SSH authority that signs there."""
TERMS = Terms(cluster_id=CLUSTER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """Everything a daemon would have, its loops excepted."""

    store: Store
    clock: Clock
    journal: Journal
    fleet: FleetView
    services: Services
    listings: Listings
    """What a poller would have seen of the hosts."""
    shelf: Shelf
    manifests: Manifests
    change_files: ChangeFiles
    errands: Errands
    woken: list[str] = field(default_factory=list)
    """Whom the services told the loops about, in order."""
    counts: Counts = field(default_factory=lambda: Counts())
    """What was counted."""

    async def add_host(
        self,
        name: str,
        *,
        cpus: int = 8,
        memory_mb: int = 65536,
        storage_mb: int = 1_000_000,
        max_sandboxes: int | None = None,
        labels: dict[str, str] | None = None,
    ) -> HostResources:
        """Add a simulated host and record a good poll of it."""
        wanted = AddHost(
            name=name,
            transport="test",
            uri="test:///default",
            ratio_cpu=1.0,
            max_sandboxes=max_sandboxes,
            labels=labels or {},
        )
        host = await self.services.hosts.add(wanted, Intent(actor=ME))
        return await self.poll(
            host, total_cpus=cpus, total_memory_mb=memory_mb, total_storage_mb=storage_mb
        )

    async def poll(self, host: HostResources, **totals: Unpack[HostFacts]) -> HostResources:
        """Record what a poll would have seen of a healthy host."""
        now = self.clock.now()
        facts: HostFacts = {
            "health": HostHealth.UP,
            "health_since": now,
            "arch": "x86_64",
            "observed_networks": ("default",),
            "observed_images": (IMAGE,),
            "observed_pool_active": True,
            "observed_storage_available_mb": 1_000_000,
            "observed_at": now,
            "last_seen_at": now,
            **totals,
        }
        seen = await self.store.submit(lambda tx: tx.hosts.observe(host.id, at=now, **facts))
        self.fleet.put(seen)
        return seen

    async def change_set(
        self, number: int = 1, job: str = "JOB-1", *, verified: bool = True
    ) -> ChangeSet:
        """Record a change set, with what it came from and what proved it."""
        now = self.clock.now()
        sandbox_id, diff_id = f"SBX-{number}", f"DIF-{number}"
        change_set = ChangeSet(
            id=f"CHG-{number}",
            job_id=job,
            sandbox_id=sandbox_id,
            diff_id=diff_id,
            path_ansible="ansible",
            path_puppet="puppet",
            created_at=now,
        )
        passed = Verification(
            change_set_id=change_set.id,
            phase=VerificationPhase.DONE,
            result=VerificationResult.PASSED,
            actor=ME,
            started_at=now,
            updated_at=now,
        )

        def unit(tx: Transaction) -> None:
            tx.sandboxes.add(samples.sandbox(sandbox_id, sandbox_name=f"box-{number}"))
            tx.diffs.add(
                Diff(
                    id=diff_id,
                    sandbox_id=sandbox_id,
                    from_snapshot="before",
                    to_snapshot="after",
                    diff_json=ChangeDiff(),
                    created_at=now,
                )
            )
            tx.change_sets.add(change_set)
            if verified:
                tx.verifications.add(passed)

        await self.store.submit(unit)
        return change_set

    async def create(self, **fields: object) -> Sandbox:
        """Create a sandbox from the fixture's image."""
        return await self.services.sandboxes.create(wanted(**fields), Intent(actor=ME))

    async def become(
        self, sandbox: Sandbox, *states: SandboxState, address: str | None = None
    ) -> Sandbox:
        """Record what a loop would have proven, state by state."""
        for state in states:
            sandbox = await self.store.submit(partial(self._proven, sandbox, state, address))
        self.journal.poke()
        return sandbox

    def _proven(
        self, before: Sandbox, to: SandboxState, address: str | None, tx: Transaction
    ) -> Sandbox:
        return tx.sandboxes.transition(
            before.id,
            before.state,
            to,
            at=self.clock.now(),
            ip_address=address,
            reason_code="proven",
            reason_message="the test says so",
        )

    async def bury(self, sandbox: Sandbox) -> Sandbox:
        """Record that nothing of a sandbox is left, and give its room back."""
        at = self.clock.now()

        def unit(tx: Transaction) -> Sandbox:
            tx.allocations.release(sandbox.id, str(sandbox.host_id))
            return tx.sandboxes.bury(sandbox.id, at=at, reason_code="proven", reason_message="gone")

        return await self.store.submit(unit)


def wanted(**fields: object) -> CreateSandbox:
    """Return a request with the required fields filled in."""
    return CreateSandbox.model_validate({"base_image": IMAGE, "agent_id": "agent-1", **fields})


def database(directory: Path) -> StoreConfig:
    """Return the configuration of a store in a directory."""
    return StoreConfig(database_url=sqlite_at(directory / "state.db"))


class Counts(Untold):
    """Notes what is forgotten, how drains end and how diffs do."""

    def __init__(self) -> None:
        self.forgotten_ids: list[str] = []
        self.drains: list[str] = []
        self.diffs: list[tuple[str, bool]] = []

    def forgotten(self, sandbox: Sandbox, /) -> None:
        """Note a sandbox."""
        self.forgotten_ids.append(sandbox.id)

    def drained(self, status: str, /) -> None:
        """Note how a drain ended."""
        self.drains.append(status)

    def compared(self, result: str, seconds: float | None, /) -> None:
        """Note how a diff ended, and whether it took time."""
        self.diffs.append((result, seconds is not None))


def wakes_to(woken: list[str]) -> Wakes:
    """Return wakes that only note who was woken."""
    return Wakes(
        sandbox=woken.append,
        host=woken.append,
        drain=woken.append,
        image=woken.append,
        playbooks=lambda: woken.append("playbooks"),
        change_set=woken.append,
        verification=woken.append,
        publication=woken.append,
        command=woken.append,
        playbook_run=woken.append,
        source=woken.append,
        authorities=lambda: woken.append("authorities"),
    )


@asynccontextmanager
async def plane(
    config: StoreConfig, clock: Clock, *, terms: Terms = TERMS, forges: Forges | None = None
) -> AsyncIterator[Plane]:
    """Open a store and put the services over it."""
    woken: list[str] = []
    errands, counts = Errands(), Counts()
    listings = Listings(clock)
    directory = (config.sqlite_path or Path("state.db")).absolute().parent
    async with (
        Store.open(config, clock=clock) as store,
        Journal.open(store, clock) as journal,
        Shelf.open(directory, store, terms) as shelf,
        Manifests.open(directory, clock, Limits(bounds=Bounds(roots=("/etc",)))) as manifests,
    ):
        change_files = ChangeFiles(directory)
        fleet = FleetView(
            store, clock, policy=terms.policy, stale_after_seconds=terms.stale_after_seconds
        )
        await fleet.load()
        services = Services.over(
            store,
            clock,
            terms=terms,
            fleet=fleet,
            journal=journal,
            wakes=wakes_to(woken),
            listings=listings,
            shelf=shelf,
            manifests=manifests,
            change_files=change_files,
            forges=forges,
            errands=errands,
            authority=lambda: AUTHORITY,
            tally=counts,
        )
        with closing(change_files):
            yield Plane(
                store=store,
                clock=clock,
                journal=journal,
                fleet=fleet,
                services=services,
                listings=listings,
                shelf=shelf,
                manifests=manifests,
                change_files=change_files,
                errands=errands,
                woken=woken,
                counts=counts,
            )


def with_quota(most: int) -> Terms:
    """Return terms with a quota per agent."""
    return replace(TERMS, max_sandboxes_per_agent=most)
