"""The three ways in: what each promises when others write, leave, hang or crash."""

from __future__ import annotations

import asyncio
import inspect
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from scheduler.errors import AlreadyExists, Conflict, NotFound, ReadOnly, Unavailable
from scheduler.store import Kind, Limits, Store, StoreConfig, Transaction, faces
from scheduler.store.awaiting import awaited
from scheduler.store.repositories.repository import Repository
from tests.clocks import ManualClock
from tests.databases import PATIENT
from tests.jumps import in_jumps, pass_time
from tests.store.samples import sandbox
from tests.waits import until

LIMIT_S = 240
"""It tells a hang from a wait."""


async def test_a_read_sees_one_snapshot_while_others_write(store: Store) -> None:
    loop = asyncio.get_running_loop()

    def unit(tx: Transaction) -> tuple[int, int]:
        before = len(tx.sandboxes.live())
        written = asyncio.run_coroutine_threadsafe(
            store.submit(lambda own: own.sandboxes.add(sandbox())), loop
        )
        written.result(LIMIT_S)
        return before, len(tx.sandboxes.live())

    assert await store.read(unit) == (0, 0)
    assert len(await store.read(lambda tx: tx.sandboxes.live())) == 1


async def test_a_read_cannot_write(store: Store) -> None:
    with pytest.raises(ReadOnly):
        await store.read(lambda tx: tx.sandboxes.add(sandbox()))


async def test_i8_reads_are_bounded(url: str) -> None:
    go = threading.Event()
    config = StoreConfig(database_url=url)
    async with Store.open(config, limits=replace(PATIENT, waiting_reads=2)) as store:
        held = [asyncio.create_task(store.read(lambda tx: go.wait(LIMIT_S))) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="2 reads are waiting"):
            await store.ping()
        go.set()
        assert await asyncio.gather(*held) == [True, True]
        await store.ping()


async def test_every_way_in_is_timed_failures_too(store: Store, clock: ManualClock) -> None:
    await store.read(lambda _: clock.advance(2))
    with pytest.raises(NotFound):
        await store.read(lambda tx: tx.sandboxes.get("SBX-0"))
    await store.submit(lambda _: clock.advance(3))
    async with store.transaction():
        clock.advance(4)
    async with store.transaction(read_only=True):
        clock.advance(5)
    lasted, waited = store.timings.lasted, store.timings.waited
    told = {kind: (sum(lasted[kind].counts), lasted[kind].sum_seconds) for kind in Kind}
    assert told == {Kind.READ: (2, 2.0), Kind.WRITE: (1, 3.0), Kind.INTERACTIVE: (2, 9.0)}
    assert {kind: sum(waited[kind].counts) for kind in Kind} == {
        kind: told[kind][0] for kind in Kind
    }


async def test_a_transaction_s_wait_for_another_writer_is_no_part_of_it(
    store: Store, clock: ManualClock
) -> None:
    async def second() -> None:
        async with store.transaction():
            pass

    async with store.transaction():
        waiting = asyncio.create_task(second())
        await asyncio.sleep(0)
        clock.advance(1)
    await waiting
    timings = store.timings
    assert timings.waited[Kind.INTERACTIVE].sum_seconds == 1.0
    assert timings.lasted[Kind.INTERACTIVE].sum_seconds == 1.0


async def test_an_interactive_transaction_commits_whole_or_not_at_all(store: Store) -> None:
    await _add_in_one(store, "SBX-1")
    with pytest.raises(AlreadyExists):
        await _add_in_one(store, "SBX-2", "SBX-1")
    live = await store.read(lambda own: own.sandboxes.live())
    assert [one.id for one in live] == ["SBX-1"]


async def _add_in_one(store: Store, *ids: str) -> None:
    async with store.transaction() as tx:
        for id in ids:
            await tx.sandboxes.add(sandbox(id))


async def test_an_ended_transaction_is_of_no_more_use(store: Store) -> None:
    async with store.transaction() as tx:
        pass
    with pytest.raises(RuntimeError, match="has ended"):
        await tx.sandboxes.live()


async def test_a_reading_transaction_is_a_snapshot_and_holds_nobody_up(store: Store) -> None:
    async with store.transaction(read_only=True) as tx:
        assert await tx.sandboxes.live() == ()
        await store.submit(lambda own: own.sandboxes.add(sandbox()))
        with pytest.raises(ReadOnly):
            await tx.sandboxes.add(sandbox("SBX-2"))
    async with store.transaction(read_only=True) as tx:
        assert len(await tx.sandboxes.live()) == 1


async def test_writers_wait_for_each_other_whichever_way_they_came(store: Store) -> None:
    async def interactive() -> None:
        async with store.transaction() as tx:
            before = int(await tx.settings.get("count") or 0)
            await asyncio.sleep(0)
            await tx.settings.put("count", str(before + 1))

    def unit(tx: Transaction) -> None:
        tx.settings.put("count", str(int(tx.settings.get("count") or 0) + 1))

    ways: list[Callable[[], Any]] = [interactive, lambda: store.submit(unit)]
    await asyncio.gather(*(ways[number % 2]() for number in range(60)))
    assert await store.read(lambda tx: tx.settings.get("count")) == "60"


async def test_a_task_that_would_wait_for_itself_is_told(store: Store) -> None:
    async with store.transaction():
        with pytest.raises(RuntimeError, match="wait for ever"):
            await store.submit(lambda tx: None)
        with pytest.raises(RuntimeError, match="wait for ever"):
            async with store.transaction():
                pass
    await store.submit(lambda tx: None)


def test_i8_nobody_waits_for_ever_for_a_writer(url: str) -> None:
    limits = Limits(wait_seconds=600, transaction_seconds=6000)

    async def test() -> None:
        async with Store.open(StoreConfig(database_url=url), limits=limits) as store:
            await _outlast(store, limits)

    in_jumps(test())


async def _outlast(store: Store, limits: Limits) -> None:
    held = asyncio.Event()

    async def hold() -> None:
        async with store.transaction() as tx:
            await tx.settings.put("held", "yes")
            held.set()
            await asyncio.Event().wait()

    async def wait() -> None:
        async with store.transaction():
            pass

    holder = asyncio.create_task(hold())
    await until(held.is_set)
    waiting = asyncio.create_task(wait())
    await pass_time(limits.wait_seconds)
    with pytest.raises(Unavailable, match="keep the store busy"):
        await waiting
    assert not holder.done()
    await pass_time(limits.transaction_seconds)
    with pytest.raises(Unavailable, match="lasted longer"):
        await holder
    await store.submit(lambda tx: tx.settings.put("free", "yes"))
    assert await store.read(lambda tx: tx.settings.get("held")) is None


async def test_cancelling_anywhere_leaks_no_connection_and_tears_nothing(store: Store) -> None:
    rng = random.Random(7)
    reached: list[str] = []

    async def pair(number: int) -> None:
        async with store.transaction() as tx:
            reached.append("begun")
            await tx.settings.put(f"a{number}", "x")
            reached.append("half")
            await tx.settings.put(f"b{number}", "x")
            reached.append("whole")
        reached.append("committed")

    for number in range(60):
        reached.clear()
        task = asyncio.create_task(pair(number))
        await until(lambda: len(reached) >= number % 5)  # noqa: B023 - awaited within the turn
        for _ in range(rng.randrange(12)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not store._lock.locked()
    assert store._engines.interactive.pool.checkedout() == 0  # type: ignore[attr-defined]
    halves = await store.read(
        lambda tx: [(tx.settings.get(f"a{n}"), tx.settings.get(f"b{n}")) for n in range(60)]
    )
    assert all(first == second for first, second in halves)
    assert len(set(halves)) == 2, "some committed and some did not, else nothing was tested"


async def test_a_unit_that_raises_is_rolled_back_and_raises_here(store: Store) -> None:
    def unit(tx: Transaction) -> None:
        tx.sandboxes.add(sandbox())
        raise Conflict("no")

    with pytest.raises(Conflict, match="no"):
        await store.submit(unit)
    with pytest.raises(NotFound):
        await store.read(lambda tx: tx.sandboxes.get("SBX-1"))


async def test_the_configuration_is_the_one_it_was_opened_with(store: Store, url: str) -> None:
    assert store.config == StoreConfig(database_url=url)


def test_every_repository_has_a_complete_face() -> None:
    for repository in _subclasses(Repository):
        face = getattr(faces, f"{repository.__name__}Face")
        public = {name for name, _ in inspect.getmembers(repository, inspect.isfunction)}
        methods = {name for name in public if not name.startswith("_")}
        offered = {
            name: value.method for name, value in vars(face).items() if isinstance(value, awaited)
        }
        assert offered == {name: getattr(repository, name) for name in methods}


def _subclasses(kind: type[Repository]) -> list[type[Repository]]:
    return [one for one in kind.__subclasses__() if one.__module__.startswith("scheduler.")]
