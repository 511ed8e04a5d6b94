"""The two servers that benchmarks/create.py compares; each runs until its standard input closes."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from fastapi import FastAPI

from scheduler import interpreter, logs
from scheduler.api.app import build_app
from scheduler.api.listener import serve
from scheduler.clock import SystemClock
from scheduler.ids import Prefix, new_id
from scheduler.model import HostHealth, HostResources, Sandbox, SandboxState, Transport
from scheduler.service.fleet import FleetView
from scheduler.service.journal import Journal
from scheduler.service.requests import CreateSandbox
from scheduler.service.services import Services, Wakes
from scheduler.service.terms import Terms
from scheduler.store import Store, StoreConfig, Transaction

IMAGE = "debian-12.qcow2"
CLUSTER = UUID("7f6f1a52-58c1-4a0f-9b3e-0f4c6d1e2a3b")
TERMS = Terms(cluster_id=CLUSTER, stale_after_seconds=1e9)


@asynccontextmanager
async def floor(_directory: Path, _hosts: int) -> AsyncIterator[FastAPI]:
    """A route that reads the same body and answers the same model, and does nothing."""
    app = FastAPI()
    now = SystemClock().now()
    answer = Sandbox(
        id=new_id(Prefix.SANDBOX),
        job_id="nightly",
        agent_id="agent-7",
        sandbox_name="box",
        base_image=IMAGE,
        network="default",
        state=SandboxState.CREATED,
        ttl_seconds=3600,
        vcpus=2,
        memory_mb=2048,
        storage_mb=10240,
        host_name="host-00001",
        host_address="localhost",
        created_at=now,
        updated_at=now,
        labels={"team": "ml", "purpose": "ci"},
        queued_at=now,
    )

    @app.post("/v1/sandboxes", status_code=202)
    async def create(body: CreateSandbox) -> Sandbox:
        return answer

    yield app


@asynccontextmanager
async def create(directory: Path, hosts: int) -> AsyncIterator[FastAPI]:
    """The daemon's own application over SQLite with synchronous=FULL, without loops."""
    clock = SystemClock()
    config = StoreConfig(database_url=f"sqlite:///{directory / 'state.db'}")
    async with Store.open(config, clock=clock) as store, Journal.open(store, clock) as journal:
        await store.submit(lambda tx: _add_hosts(tx, hosts))
        fleet = FleetView(
            store, clock, policy=TERMS.policy, stale_after_seconds=TERMS.stale_after_seconds
        )
        await fleet.load()
        services = Services.over(
            store,
            clock,
            terms=TERMS,
            fleet=fleet,
            journal=journal,
            wakes=Wakes(sandbox=_nobody, host=_nobody, drain=_nobody),
        )
        yield build_app(services)


def _add_hosts(tx: Transaction, count: int) -> None:
    now = SystemClock().now()
    for number in range(count):
        host = tx.hosts.add(
            HostResources(
                id=new_id(Prefix.HOST),
                name=f"host-{number:05}",
                address="localhost",
                transport=Transport.TEST,
                uri="test:///default",
                updated_at=now,
            )
        )
        tx.hosts.observe(
            host.id,
            at=now,
            health=HostHealth.UP,
            arch="x86_64",
            # Room for everything: this is about answering, not about running out.
            total_cpus=100_000 + number,
            total_memory_mb=1 << 40,
            total_storage_mb=1 << 40,
            observed_networks=("default",),
            observed_images=(IMAGE,),
            observed_pool_active=True,
            observed_storage_available_mb=1 << 40,
            observed_at=now,
            last_seen_at=now,
        )


def _nobody(_id: str) -> None:
    """Wake no loop: there is none."""


async def run(kind: str, directory: Path, hosts: int) -> None:
    """Serve on `directory/s` until standard input ends."""
    make = {"floor": floor, "create": create}[kind]
    async with make(directory, hosts) as app, serve(app, directory / "s", group=None):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    """Serve what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("floor", "create"))
    parser.add_argument("directory", type=Path)
    parser.add_argument("--hosts", type=int, default=0)
    options = parser.parse_args()
    logs.configure("warning")
    interpreter.settle()  # as the daemon does
    asyncio.run(run(options.kind, options.directory, options.hosts))


if __name__ == "__main__":
    main()
