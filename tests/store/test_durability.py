"""I9: what was acknowledged is there after `kill -9`, on both engines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scheduler.store import Store, StoreConfig
from tests.databases import PATIENT

ENOUGH = 300
REPOSITORY = Path(__file__).parents[2]

# Prints a sandbox's id only after its unit was acknowledged.
WRITER = """
import asyncio, sys
from functools import partial
from scheduler.store import Store, StoreConfig
from tests.databases import PATIENT
from tests.store.samples import allocation, host, sandbox

def unit(id, tx):
    tx.allocations.claim(allocation(id, vcpus=0, memory_mb=1, storage_mb=1))
    tx.sandboxes.add(sandbox(id))
    tx.settings.put(id, "whole")

async def one(store, lane):
    for number in range(100_000):
        id = f"SBX-{lane}-{number}"
        await store.submit(partial(unit, id))
        print(id, flush=True)

async def main():
    async with Store.open(StoreConfig(database_url=sys.argv[1]), limits=PATIENT) as store:
        await store.submit(lambda tx: tx.hosts.add(host()))
        await asyncio.gather(*(one(store, lane) for lane in range(16)))

asyncio.run(main())
"""


@pytest.mark.parametrize("attempt", range(3))
async def test_i9_what_was_acknowledged_survives_kill_9(url: str, attempt: int) -> None:
    acknowledged = killed_in_the_middle(url, ENOUGH + 37 * attempt)
    # What a server is still doing for who was killed keeps the lock.
    async with Store.open(StoreConfig(database_url=url), limits=PATIENT) as store:
        rows, live, reserved, found = await store.read(
            lambda tx: (
                {row.sandbox_id for row in tx.allocations.all()},
                {one.id for one in tx.sandboxes.live()},
                tx.hosts.get("HST-1").reserved_sandboxes,
                tx.allocations.audit(),
            )
        )
        assert acknowledged <= live
        # Units that were committed and not yet acknowledged are whole too.
        assert rows == live
        assert reserved == len(rows)
        assert found == ()
        said = await store.read(lambda tx: {tx.settings.get(id) for id in live})
        assert said == {"whole"}


def killed_in_the_middle(url: str, count: int) -> set[str]:
    """Run the writer until it has acknowledged `count` units, kill it, return all it said."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    try:
        assert process.stdout is not None
        said = [process.stdout.readline().strip() for _ in range(count)]
        process.kill()
        # The last line may have been cut short by the kill.
        said += [line.strip() for line in process.stdout if line.endswith("\n")]
    finally:
        process.kill()
        process.wait(240)
        if process.stdout is not None:
            process.stdout.close()
    assert "" not in said
    return set(said)
