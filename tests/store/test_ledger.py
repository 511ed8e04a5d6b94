"""I1 under load: 20,000 claims and releases at random, from every side at once, never oversold."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

import pytest

from scheduler.errors import Conflict
from scheduler.model import Allocation, HostResources, Resources
from scheduler.store import Store, StoreConfig, Transaction
from tests.databases import PATIENT
from tests.store.samples import allocation, host, sandbox

OPERATIONS = 20_000
HOSTS = 5
SANDBOXES = 80
WORKERS = 32
GROUPS = ("web", "db", *[None] * 6)

Held = dict[str, str]


def prepare(tx: Transaction) -> None:
    """Hosts that about a third of the sandboxes fill, each by another of its limits."""
    for number in range(HOSTS):
        tx.hosts.add(
            host(
                f"HST-{number}",
                total_cpus=16 + number,
                total_memory_mb=16_000 + 1000 * number,
                total_storage_mb=100_000,
                max_sandboxes=9 if number == 3 else None,
            )
        )
    for number in range(SANDBOXES):
        tx.sandboxes.add(sandbox(f"SBX-{number}"))


def claim(wanted: Allocation, tx: Transaction) -> None:
    tx.allocations.claim(wanted)


def claim_and_look(wanted: Allocation, tx: Transaction) -> None:
    tx.allocations.claim(wanted)
    check(tx.hosts.get(wanted.host_id))


def release(sandbox_id: str, host_id: str, tx: Transaction) -> None:
    tx.allocations.release(sandbox_id, host_id)


def check(one: HostResources) -> None:
    """No oversell at the moment of a claim; reading a host each time would be half the test."""
    assert one.limit.covers(one.reserved)
    assert one.limit_sandboxes is None or one.reserved_sandboxes <= one.limit_sandboxes


async def worker(stores: Sequence[Store], seed: int, operations: int) -> tuple[int, int]:
    """Claim and release sandboxes of its own, each time by a way chosen at random."""
    rng = random.Random(seed)
    mine = [f"SBX-{number}" for number in range(SANDBOXES) if number % WORKERS == seed % WORKERS]
    held: Held = {}
    done = refused = 0
    for _ in range(operations):
        one, store = rng.choice(mine), rng.choice(stores)
        if one in held:
            unit = partial(release, one, held.pop(one))
        else:
            wanted = allocation(
                one,
                f"HST-{rng.randrange(HOSTS)}",
                vcpus=rng.randint(1, 4),
                memory_mb=rng.randint(1, 4000),
                storage_mb=rng.randint(1, 20_000),
                anti_affinity_group=rng.choice(GROUPS),
            )
            held[one] = wanted.host_id
            unit = partial(claim_and_look if rng.random() < 0.1 else claim, wanted)
        try:
            await write(store, unit, interactively=rng.random() < 0.005)
            done += 1
        except Conflict:
            del held[one]
            refused += 1
    return done, refused


async def write(store: Store, unit: partial[None], *, interactively: bool) -> None:
    if not interactively:
        await store.submit(unit)
        return
    async with store.transaction() as tx:
        if unit.func is release:
            await tx.allocations.release(*unit.args)
        else:
            await tx.allocations.claim(unit.args[0])


async def storm(stores: Sequence[Store]) -> None:
    """Run all operations over the stores, then compare every counter with its rows."""
    await stores[0].submit(prepare)
    share = OPERATIONS // WORKERS
    results = await asyncio.gather(*(worker(stores, seed, share) for seed in range(WORKERS)))
    done, refused = map(sum, zip(*results, strict=True))
    assert done + refused == OPERATIONS
    assert done > OPERATIONS // 10
    assert refused > OPERATIONS // 10
    hosts, rows = await stores[0].read(lambda tx: (tx.hosts.all(), tx.allocations.all()))
    for one in hosts:
        there = [row for row in rows if row.host_id == one.id]
        assert sum((row.resources for row in there), Resources()) == one.reserved
        assert len(there) == one.reserved_sandboxes
        groups = [row.anti_affinity_group for row in there if row.anti_affinity_group]
        assert len(groups) == len(set(groups))
        check(one)
    assert await stores[0].read(lambda tx: tx.allocations.audit()) == ()


async def test_i1_20_000_claims_and_releases_never_oversell(store: Store) -> None:
    await storm([store])


@pytest.mark.parametrize("engine_name", ["postgresql"], indirect=True)
async def test_i1_two_daemons_on_one_postgresql_lose_no_update(url: str) -> None:
    async with AsyncExitStack() as stack:
        config = StoreConfig(database_url=url)
        opening = (Store.open(config, limits=PATIENT) for _ in range(2))
        await storm([await stack.enter_async_context(one) for one in opening])


async def test_i1_two_stores_on_one_file_lose_no_update(store: Store, url: str) -> None:
    """Two processes may meet on a file too; its own lock is all that orders them."""

    def add_one(tx: Transaction) -> None:
        tx.settings.put("count", str(int(tx.settings.get("count") or 0) + 1))

    async with Store.open(StoreConfig(database_url=url), limits=PATIENT) as other:
        await asyncio.gather(*(one.submit(add_one) for _ in range(150) for one in (store, other)))
    assert await store.read(lambda tx: tx.settings.get("count")) == "300"
