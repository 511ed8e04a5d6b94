"""P3 and P4: durable claims a second, beside the same statements raw.

One claim is what a create commits: the guarded update of the host row, and the allocation, sandbox,
decision and event rows. The floor runs the very same statements with ready-made parameters on the
driver alone, one thread hop and one commit a batch; ours is `Store.submit` from as many concurrent
callers as the batch has claims. Run it with: python -m benchmarks.claims [postgresql]
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.rounds import Table, compare
from scheduler.ids import Prefix, new_id
from scheduler.model import (
    Allocation,
    Decision,
    Event,
    HostResources,
    Sandbox,
    SandboxState,
)
from scheduler.store import Store, StoreConfig, Transaction, engines
from scheduler.store.repositories import allocation_queries, decisions, events, sandbox_queries
from scheduler.store.statements import Statement, Statements
from scheduler.store.tables import ALLOCATIONS, DECISIONS, EVENTS, SANDBOXES
from tests.fleet.postgres import PostgresCluster

HOSTS = (1_000, 10_000)
WRITERS = {1: 500, 8: 1_600, 64: 3_200}
"""How many callers at once, and how many claims in a burst."""

ROUNDS = 7
NOW = datetime.now(UTC)

Call = tuple[str, Sequence[Any]]
Ready = list[Call]


@dataclass(frozen=True, slots=True)
class Claim:
    """Everything that one create commits."""

    allocation: Allocation
    sandbox: Sandbox
    decision: Decision
    event: Event


def claims(hosts: int) -> Iterator[Claim]:
    """Yield claims over all hosts in turn, each small enough that none is ever refused."""
    for number in count():
        sandbox_id, decision_id = new_id(Prefix.SANDBOX), new_id(Prefix.DECISION)
        host_id = f"HST-{number * 7919 % hosts}"
        yield Claim(_allocation(sandbox_id, host_id), *_records(sandbox_id, host_id, decision_id))


def _allocation(sandbox_id: str, host_id: str) -> Allocation:
    return Allocation(
        sandbox_id=sandbox_id,
        host_id=host_id,
        pool="default",
        vcpus=2,
        memory_mb=2224,
        storage_mb=10_240,
        claimed_at=NOW,
    )


def _records(sandbox_id: str, host_id: str, decision_id: str) -> tuple[Sandbox, Decision, Event]:
    sandbox = Sandbox(
        id=sandbox_id,
        job_id="JOB-benchmark",
        agent_id="benchmark",
        sandbox_name=sandbox_id.lower(),
        base_image="base.qcow2",
        network="default",
        state=SandboxState.CREATED,
        vcpus=2,
        memory_mb=2048,
        storage_mb=10_240,
        host_id=host_id,
        host_name=host_id.lower(),
        decision_id=decision_id,
        labels={"team": "blue"},
        created_at=NOW,
        updated_at=NOW,
        queued_at=NOW,
    )
    decision = Decision(
        id=decision_id,
        sandbox_id=sandbox_id,
        outcome="placed",
        policy="spread",
        host_id=host_id,
        host_name=host_id.lower(),
        demand={"vcpus": 2, "memory_mb": 2224, "storage_mb": 10_240},
        chosen=({"host": host_id, "score": 0.75}, {"host": "HST-1", "score": 0.74}),
        refusals={"memory": 17},
        created_at=NOW,
    )
    event = Event(at=NOW, kind="sandbox.created", sandbox_id=sandbox_id, host_id=host_id)
    return sandbox, decision, event


def unit(claim: Claim, tx: Transaction) -> None:
    """Commit one claim as a create does."""
    tx.allocations.claim(claim.allocation)
    tx.sandboxes.add(claim.sandbox)
    tx.decisions.add(claim.decision)
    tx.events.add(claim.event)


def raw(claim: Claim, statements: Statements) -> Ready:
    """Return the same statements with their parameters, ready for the driver."""
    wanted = claim.allocation
    amounts = (wanted.host_id, wanted.vcpus, wanted.memory_mb, wanted.storage_mb)

    def ready(statement: Statement, parameters: Sequence[Any]) -> Call:
        prepared = statements.prepared(statement)
        return prepared.text, prepared.bind(parameters)

    return [
        ready(allocation_queries.CLAIM, amounts),
        ready(allocation_queries.INSERT, ALLOCATIONS.row(wanted)),
        ready(sandbox_queries.INSERT, SANDBOXES.row(claim.sandbox)),
        ready(decisions._INSERT, DECISIONS.row(claim.decision)),
        ready(events._INSERT, EVENTS.row(claim.event)),
    ]


class Floor:
    """The driver alone, on a thread of its own."""

    def __init__(self, connect: Callable[[], Any], begin: str) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._connection = self._thread.submit(connect).result()
        self._cursor = self._thread.submit(self._connection.cursor).result()
        self._begin = begin

    async def commit(self, batches: Sequence[Sequence[Ready]]) -> None:
        """Run each batch in one hop and one transaction."""
        loop = asyncio.get_running_loop()
        for batch in batches:
            await loop.run_in_executor(self._thread, self._run, batch)

    def close(self) -> None:
        """Close the connection and end the thread."""
        self._thread.submit(self._connection.close).result()
        self._thread.shutdown()

    def _run(self, batch: Sequence[Ready]) -> None:
        cursor = self._cursor
        cursor.execute(self._begin)
        for ready in batch:
            for text, parameters in ready:
                cursor.execute(text, parameters)
            cursor.fetchall()
        cursor.execute("COMMIT")


async def submit_all(store: Store, lanes: Sequence[Sequence[Claim]]) -> None:
    """Let every lane submit its claims one after the other, all lanes at once."""

    async def lane(own: Sequence[Claim]) -> None:
        for claim in own:
            await store.submit(partial(unit, claim))

    async with asyncio.TaskGroup() as group:
        for own in lanes:
            group.create_task(lane(own))


class Bench:
    """One database with its hosts, and both programs open on it."""

    def __init__(self, url: str, hosts: int, runner: asyncio.Runner) -> None:
        self._claims = claims(hosts)
        self._runner = runner
        self._stack = AsyncExitStack()
        config = StoreConfig(database_url=url)
        self._store = runner.run(self._stack.enter_async_context(Store.open(config)))
        self._statements = Statements(engines.make(config).writer.dialect)
        runner.run(self._store.submit(partial(add_hosts, hosts)))
        self._floor = _floor(config)

    def compare(self, name: str, writers: int, burst: int) -> Table:
        """Measure both programs with so many writers."""
        return compare(
            name,
            {
                "the same statements, raw": self._prepared_floor(writers, burst),
                "store.submit": self._prepared_store(writers, burst),
            },
            rounds=ROUNDS,
        )

    def close(self) -> None:
        """Close both programs."""
        self._floor.close()
        self._runner.run(self._stack.aclose())

    def _prepared_floor(self, writers: int, burst: int) -> Callable[[], int]:
        bursts = (
            [self._ready(writers) for _ in range(burst // writers)] for _ in range(2 * (ROUNDS + 1))
        )
        prepared = list(bursts)

        def run() -> int:
            self._runner.run(self._floor.commit(prepared.pop()))
            return burst

        return run

    def _prepared_store(self, writers: int, burst: int) -> Callable[[], int]:
        prepared = [
            [[next(self._claims) for _ in range(burst // writers)] for _ in range(writers)]
            for _ in range(ROUNDS + 1)
        ]

        def run() -> int:
            self._runner.run(submit_all(self._store, prepared.pop()))
            return burst

        return run

    def _ready(self, writers: int) -> list[Ready]:
        return [raw(next(self._claims), self._statements) for _ in range(writers)]


def add_hosts(hosts: int, tx: Transaction) -> None:
    """Add hosts with room for everything that is to come."""
    for number in range(hosts):
        tx.hosts.add(
            HostResources(
                id=f"HST-{number}",
                name=f"hst-{number}",
                address="192.0.2.1",
                total_cpus=1_000_000,
                total_memory_mb=10_000_000_000,
                total_storage_mb=10_000_000_000,
                updated_at=NOW,
            )
        )


def _floor(config: StoreConfig) -> Floor:
    path = config.sqlite_path
    if path is None:
        connect = partial(psycopg.connect, config.database_url, autocommit=True)
        return Floor(connect, "BEGIN")
    return Floor(partial(_sqlite, path), "BEGIN IMMEDIATE")


def _sqlite(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def report(fresh_url: Callable[[int], str]) -> None:
    """Print the table of every number of hosts and writers."""
    print("| hosts | writers | raw/s | ours/s | ratio [range] | control | CPU us, raw / ours |")
    print("|---|---|---|---|---|---|---|")
    with asyncio.Runner() as runner:
        for hosts in HOSTS:
            bench = Bench(fresh_url(hosts), hosts, runner)
            for writers, burst in WRITERS.items():
                _print_line(hosts, writers, bench.compare("claims", writers, burst))
            bench.close()


def _print_line(hosts: int, writers: int, table: Table) -> None:
    floor, ours = table.lines
    low, high = min(ours.ratios), max(ours.ratios)
    control = f"{table.control:.2f}" + ("" if table.valid else " (void)")
    cpu = f"{floor.cpu * 1e6:.0f} / {ours.cpu * 1e6:.0f}"
    print(
        f"| {hosts:,} | {writers} | {floor.rate:,.0f} | {ours.rate:,.0f} "
        f"| {ours.ratio:.2f} [{low:.2f} to {high:.2f}] | {control} | {cpu} |",
        flush=True,
    )


def main(engine: str = "sqlite") -> None:
    """Measure on a fresh database of the engine for each number of hosts."""
    if engine == "postgresql":
        with PostgresCluster.make() as cluster:
            report(lambda _: cluster.database())
        return
    with tempfile.TemporaryDirectory() as directory:
        report(lambda hosts: f"sqlite:///{directory}/{hosts}.db")


if __name__ == "__main__":
    main(*sys.argv[1:])
