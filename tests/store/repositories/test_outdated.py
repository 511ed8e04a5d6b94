"""What is old is found and goes; what anything kept refers to is not even found."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime

import pytest
from sqlalchemy.dialects import sqlite

from scheduler.model import (
    CommandStatus,
    Event,
    IdempotencyRecord,
    SandboxState,
)
from scheduler.store import OutdatedRows, Store, StoreConfig, Transaction
from scheduler.store.repositories import outdated
from scheduler.store.statements import Statements
from tests.clocks import START
from tests.store.samples import (
    allocation,
    change_set,
    command,
    decision,
    diff,
    host,
    later,
    sandbox,
    snapshot,
    volume,
)

Search = Callable[[Transaction], OutdatedRows]
MOST = 100


async def sweep(store: Store, search: Search) -> list[object]:
    """Find, remove and return the keys of what is outdated."""
    found = await store.read(search)
    assert await store.submit(lambda tx: tx.outdated.remove(found)) == len(found)
    assert len(await store.read(search)) == 0
    return [key[0] for key in found.keys]


async def destroyed(store: Store, id: str, *, at: datetime) -> None:
    """Record a tombstone."""

    def unit(tx: Transaction) -> None:
        tx.sandboxes.add(sandbox(id, sandbox_name=id.lower()))
        tx.sandboxes.bury(id, at=at, reason_code="destroyed")

    await store.submit(unit)


async def told(store: Store, seconds: float) -> int:
    """Record an event of that time and return its number."""
    event = Event(at=later(seconds), kind="sandbox.state")
    return await store.submit(lambda tx: tx.events.add(event))


def kept(key: str, at: datetime) -> IdempotencyRecord:
    return IdempotencyRecord(
        actor="uid:0",
        route="POST /v1/sandboxes",
        key=key,
        body_hash="h",
        status=202,
        answer="{}",
        created_at=at,
    )


async def test_old_events_go_and_their_numbers_are_never_used_again(store: Store) -> None:
    numbers = [await told(store, at) for at in (0, 10, 20)]
    assert await sweep(store, lambda tx: tx.outdated.events(later(10), MOST)) == numbers[:1]
    await sweep(store, lambda tx: tx.outdated.events(later(99), MOST))
    assert await store.read(lambda tx: tx.events.latest()) == numbers[-1], "the newest stays"
    assert await told(store, 30) > numbers[-1]


async def test_events_beyond_the_newest_go_however_young(store: Store) -> None:
    numbers = [await told(store, 0) for _ in range(8)]
    gone = await sweep(store, lambda tx: tx.outdated.surplus_events(5, MOST))
    left = await store.read(lambda tx: tx.events.find())
    assert (gone, [one.seq for one in left]) == (numbers[:3], numbers[3:])
    assert await sweep(store, lambda tx: tx.outdated.surplus_events(5, MOST)) == []


async def test_a_share_is_found_the_oldest_first(store: Store) -> None:
    first, second, _, _ = [await told(store, at) for at in (30, 10, 20, 0)]
    found = await store.read(lambda tx: tx.outdated.events(later(99), 2))
    assert found.keys == ((first,), (second,))


async def test_no_event_goes_before_an_older_number(store: Store) -> None:
    """A clock that was set back must not leave holes in the journal."""
    numbers = [await told(store, at) for at in (0, 30, 5, 40)]
    assert await sweep(store, lambda tx: tx.outdated.events(later(10), MOST)) == numbers[:1]
    assert await store.read(lambda tx: tx.events.pruned_through()) == numbers[0]
    await sweep(store, lambda tx: tx.outdated.events(later(31), MOST))
    left = await store.read(lambda tx: tx.events.find())
    assert [one.seq for one in left] == numbers[3:]


async def test_the_highest_number_that_went_is_remembered(store: Store) -> None:
    assert await store.read(lambda tx: tx.events.pruned_through()) == 0
    numbers = [await told(store, 0) for _ in range(12)]
    early = await store.read(lambda tx: tx.outdated.surplus_events(9, MOST))
    await sweep(store, lambda tx: tx.outdated.surplus_events(2, MOST))
    assert await store.read(lambda tx: tx.events.pruned_through()) == numbers[9]
    assert await store.submit(lambda tx: tx.outdated.remove(early)) == 0
    assert await store.read(lambda tx: tx.events.pruned_through()) == numbers[9]


async def test_refusals_and_decisions_of_forgotten_sandboxes_go(store: Store) -> None:
    await destroyed(store, "SBX-2", at=later(1))

    def unit(tx: Transaction) -> None:
        tx.sandboxes.add(sandbox("SBX-1"))
        tx.decisions.add(decision("DEC-1", sandbox_id="SBX-1"))
        tx.decisions.add(decision("DEC-2", sandbox_id="SBX-2"))
        tx.decisions.add(decision("DEC-3", sandbox_id="SBX-3"))
        tx.decisions.add(decision("DEC-4", sandbox_id=None))
        tx.decisions.add(decision("DEC-5", sandbox_id=None, created_at=later(50)))

    await store.submit(unit)
    gone = await sweep(store, lambda tx: tx.outdated.decisions(later(50), MOST))
    assert sorted(map(str, gone)) == ["DEC-3", "DEC-4"]


async def test_ended_commands_go_and_running_ones_stay(store: Store) -> None:
    def unit(tx: Transaction) -> None:
        tx.sandboxes.add(sandbox())
        ended = {"status": CommandStatus.EXITED, "exit_code": 0}
        tx.commands.add(command("CMD-1", ended_at=later(1), **ended))
        tx.commands.add(command("CMD-2", ended_at=later(50), **ended))
        tx.commands.add(command("CMD-3", status=CommandStatus.RUNNING, ended_at=None))

    await store.submit(unit)
    assert await sweep(store, lambda tx: tx.outdated.commands(later(50), MOST)) == ["CMD-1"]


async def test_tombstones_go_once_nothing_names_them(store: Store) -> None:
    for id in ("SBX-1", "SBX-2", "SBX-3", "SBX-4"):
        await destroyed(store, id, at=later(1))
    await destroyed(store, "SBX-5", at=later(50))

    def unit(tx: Transaction) -> None:
        tx.hosts.add(host())
        tx.sandboxes.add(sandbox("SBX-6", sandbox_name="alive"))
        tx.volumes.add(volume("SBX-2"))
        tx.commands.add(command("CMD-1", sandbox_id="SBX-3"))
        tx.snapshots.add(snapshot("SNP-1", sandbox_id="SBX-4"))

    await store.submit(unit)
    assert await sweep(store, lambda tx: tx.outdated.tombstones(later(50), MOST)) == ["SBX-1"]
    for id in ("SBX-2", "SBX-3", "SBX-4", "SBX-5"):
        still = await store.read(lambda tx, id=id: tx.sandboxes.get(id))  # type: ignore[misc]
        assert still.state is SandboxState.DESTROYED


async def test_diffs_go_with_their_sandbox_unless_code_was_made_from_them(store: Store) -> None:
    await destroyed(store, "SBX-1", at=later(1))
    await destroyed(store, "SBX-2", at=later(50))

    def unit(tx: Transaction) -> None:
        tx.sandboxes.add(sandbox("SBX-3", sandbox_name="alive"))
        for number, of in enumerate(("SBX-1", "SBX-1", "SBX-2", "SBX-3"), start=1):
            tx.diffs.add(diff(f"DIF-{number}", sandbox_id=of, to_snapshot=str(number)))
        tx.change_sets.add(change_set("CHG-1", sandbox_id="SBX-1", diff_id="DIF-2"))

    await store.submit(unit)
    assert await sweep(store, lambda tx: tx.outdated.diffs(later(50), MOST)) == ["DIF-1"]
    assert (await store.read(lambda tx: tx.diffs.get("DIF-2"))).id == "DIF-2"
    assert await sweep(store, lambda tx: tx.outdated.tombstones(later(50), MOST)) == []


async def test_a_live_sandbox_and_what_it_holds_are_never_old(store: Store) -> None:
    def unit(tx: Transaction) -> None:
        tx.hosts.add(host())
        tx.sandboxes.add(sandbox("SBX-1"))
        tx.allocations.claim(allocation("SBX-1"))
        tx.decisions.add(decision("DEC-1", sandbox_id="SBX-1"))

    await store.submit(unit)
    century = later(100 * 365 * 86400)
    for search in (
        lambda tx: tx.outdated.tombstones(century, MOST),
        lambda tx: tx.outdated.decisions(century, MOST),
        lambda tx: tx.outdated.commands(century, MOST),
    ):
        assert await sweep(store, search) == []


async def test_answers_go_by_their_age(store: Store) -> None:
    for number, at in enumerate((START, later(50))):
        record = kept(f"k{number}", at)
        await store.submit(lambda tx, record=record: tx.idempotency.add(record))  # type: ignore[misc]
    assert len(await sweep(store, lambda tx: tx.outdated.answers(later(50), MOST))) == 1
    left = await store.read(lambda tx: tx.idempotency.get("uid:0", "POST /v1/sandboxes", "k1"))
    assert left is not None


@pytest.mark.parametrize("rows", [0, 1])
async def test_an_empty_database_has_nothing_old(store: Store, rows: int) -> None:
    assert await sweep(store, lambda tx: tx.outdated.surplus_events(rows, MOST)) == []
    assert await sweep(store, lambda tx: tx.outdated.events(later(9), MOST)) == []


async def test_what_is_needed_again_by_then_is_not_removed(store: Store) -> None:
    """Between finding and removing an orphan may be condemned, or a key be used again."""
    for id in ("SBX-1", "SBX-2"):
        await destroyed(store, id, at=later(1))
    await store.submit(lambda tx: tx.idempotency.add(kept("k1", START)))
    tombstones = await store.read(lambda tx: tx.outdated.tombstones(later(50), MOST))
    answers = await store.read(lambda tx: tx.outdated.answers(later(50), MOST))
    assert (len(tombstones), len(answers)) == (2, 1)

    def meanwhile(tx: Transaction) -> None:
        tx.hosts.add(host())
        tx.volumes.add(volume("SBX-2"))
        tx.outdated.remove(answers)
        tx.idempotency.add(kept("k1", later(60)))

    await store.submit(meanwhile)
    removed = await store.submit(
        lambda tx: (tx.outdated.remove(tombstones), tx.outdated.remove(answers))
    )
    assert removed == (1, 0)
    assert (await store.read(lambda tx: tx.sandboxes.get("SBX-2"))).id == "SBX-2"
    again = await store.read(lambda tx: tx.idempotency.get("uid:0", "POST /v1/sandboxes", "k1"))
    assert again is not None


def test_nothing_is_found_by_reading_a_whole_table(sqlite_url: str) -> None:
    """A million rows are kept: what reads all of them for each share takes hours."""
    statements = Statements(sqlite.dialect())
    with closing(sqlite3.connect(StoreConfig(database_url=sqlite_url).sqlite_path or "")) as raw:
        for kind in outdated.KINDS.values():
            for statement in (kind.find, kind.remove):
                text = statements.prepared(statement).text
                plan = raw.execute(f"EXPLAIN QUERY PLAN {text}", [0] * text.count("?")).fetchall()
                told = [row[3] for row in plan]
                assert not [step for step in told if "SCAN" in step and "CONSTANT" not in step]
                assert not [step for step in told if "TEMP B-TREE" in step]
