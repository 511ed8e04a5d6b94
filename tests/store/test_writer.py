"""Group commit: one transaction for many, an answer of its own for each, nobody breaks another."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import pytest

from scheduler.errors import AlreadyExists, Conflict, Invalid, NotFound, Unavailable
from scheduler.store import Limits, Store, StoreConfig, Transaction, engines
from scheduler.store.committer import Committer, Done, Failed
from scheduler.store.gate import Gate
from scheduler.store.statements import Statements
from scheduler.store.timings import Kind, Timings
from scheduler.store.writer import Writer
from tests.clocks import ManualClock
from tests.store.samples import allocation, host, sandbox
from tests.store.upgrade import NEWEST
from tests.waits import until

LIMIT_S = 240
"""It tells a hang from a wait."""


@pytest.fixture
def committer(url: str, clock: ManualClock) -> Any:
    engine = engines.make(StoreConfig(database_url=url)).writer
    made = Committer(engine, Statements(engine.dialect), clock, Gate(NEWEST))
    yield made
    made.close()
    engine.dispose()


def add(number: int) -> Any:
    return lambda tx: tx.sandboxes.add(sandbox(f"SBX-{number}", sandbox_name=f"n{number}")).id


def taken(tx: Transaction) -> None:
    """Fail in the database, which on PostgreSQL spoils the whole transaction."""
    tx.sandboxes.add(sandbox("SBX-bad", sandbox_name="n0"))


def bug(tx: Transaction) -> None:
    tx.settings.put("half", "written")
    raise ZeroDivisionError


def dangling(tx: Transaction) -> None:
    """Break a reference that is only checked at the commit."""
    tx.hosts.add(host("HST-other", name="other"))
    tx.allocations.claim(allocation("SBX-none", "HST-other"))


def refused(tx: Transaction) -> None:
    raise Conflict("not today")


def values(outcomes: list[Any]) -> list[object]:
    return [one.value if isinstance(one, Done) else type(one.error) for one in outcomes]


def test_a_batch_is_one_transaction(committer: Committer) -> None:
    begun: list[int] = []

    def count(tx: Transaction) -> int:
        begun.append(id(tx.cursor))
        return len(tx.sandboxes.live())

    assert values(committer.commit([count, add(1), count, add(2), count])) == [
        0,
        "SBX-1",
        1,
        "SBX-2",
        2,
    ]
    assert len(begun) == 3


@pytest.mark.parametrize(
    ("fault", "error"),
    [(taken, AlreadyExists), (bug, ZeroDivisionError), (dangling, Invalid), (refused, Conflict)],
)
@pytest.mark.parametrize("position", [0, 2, 4])
def test_a_unit_that_fails_breaks_no_other(
    committer: Committer, fault: Any, error: type[Exception], position: int
) -> None:
    committer.commit([add(0)])
    units = [add(number) for number in range(1, 5)]
    units.insert(position, fault)
    expected: list[object] = [f"SBX-{number}" for number in range(1, 5)]
    expected.insert(position, error)
    assert values(committer.commit(units)) == expected
    (live, half) = committer.commit(
        [lambda tx: len(tx.sandboxes.live()), lambda tx: tx.settings.get("half")]
    )
    assert values([live, half]) == [5, None]


def test_a_unit_alone_gets_its_own_fault(committer: Committer) -> None:
    (outcome,) = committer.commit([bug])
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, ZeroDivisionError)
    assert values(committer.commit([dangling])) == [Invalid]


def test_a_refusal_that_wrote_nothing_lets_the_batch_stand(committer: Committer) -> None:
    runs = 0

    def counted(tx: Transaction) -> str:
        nonlocal runs
        runs += 1
        return add(1)(tx)  # type: ignore[no-any-return]

    def full(tx: Transaction) -> None:
        tx.allocations.claim(allocation(vcpus=999))

    committer.commit([lambda tx: tx.hosts.add(host())])
    outcomes = committer.commit([counted, full, lambda tx: tx.sandboxes.get("SBX-none")])
    assert values(outcomes) == ["SBX-1", Conflict, NotFound]
    assert runs == 1


def test_a_search_that_fails_in_the_database_is_no_harmless_refusal(committer: Committer) -> None:
    def overflow(tx: Transaction) -> None:
        tx.events.find(1 << 70)

    assert values(committer.commit([add(1), overflow, add(2)])) == ["SBX-1", Invalid, "SBX-2"]
    assert values(committer.commit([lambda tx: len(tx.sandboxes.live())])) == [2]


async def test_what_waits_goes_with_the_next_commit(store: Store) -> None:
    many = range(3 * Limits().batch)
    results = await asyncio.gather(*(store.submit(add(number)) for number in many))
    assert results == [f"SBX-{number}" for number in many]
    assert len(await store.read(lambda tx: tx.sandboxes.live())) == len(many)


async def test_a_caller_who_is_cancelled_breaks_no_other_and_its_unit_is_carried_out(
    store: Store,
) -> None:
    tasks = [asyncio.create_task(store.submit(add(number))) for number in range(60)]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in results] == [
        number % 3 == 0 for number in range(60)
    ]
    assert len(await store.read(lambda tx: tx.sandboxes.live())) == 60


def answer(number: int, _: Transaction) -> int:
    return number


class HeldCommitter:
    """A committer that waits until it is let go, to fill the queue before it."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = 0

    def commit(self, units: list[Any]) -> list[Done]:
        self.begun += 1
        assert self.go.wait(LIMIT_S)
        return [Done(unit(None)) for unit in units]

    def close(self) -> None:
        pass


def writer_over(
    committer: HeldCommitter,
    limits: Limits,
    *,
    clock: ManualClock | None = None,
    timings: Timings | None = None,
) -> Writer:
    """Return a writer that has this committer commit."""
    return Writer(
        committer,  # type: ignore[arg-type]
        asyncio.Lock(),
        limits,
        clock=clock or ManualClock(),
        timings=timings or Timings(),
    )


async def test_a_unit_s_wait_is_told_apart_from_what_its_commit_takes() -> None:
    held, clock, timings = HeldCommitter(), ManualClock(), Timings()
    writer = writer_over(held, Limits(), clock=clock, timings=timings)
    first = asyncio.create_task(writer.submit(partial(answer, 1)))
    await until(lambda: held.begun == 1, what="the first commit")
    rest = [asyncio.create_task(writer.submit(partial(answer, n))) for n in (2, 3)]
    await asyncio.sleep(0)
    clock.advance(4)
    held.go.set()
    await asyncio.gather(first, *rest)
    await writer.close()
    waited, lasted = timings.waited[Kind.WRITE], timings.lasted[Kind.WRITE]
    assert (sum(waited.counts), waited.sum_seconds) == (3, 8.0)
    assert (sum(lasted.counts), lasted.sum_seconds) == (2, 4.0)


async def test_i8_the_queue_is_bounded_and_closing_commits_what_waits() -> None:
    held = HeldCommitter()
    writer = writer_over(held, Limits(waiting_writes=3))
    first = asyncio.create_task(writer.submit(lambda _: 0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(writer.submit(partial(answer, n))) for n in (1, 2, 3)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="3 writes are waiting already"):
        await writer.submit(lambda _: 4)
    closing = asyncio.create_task(writer.close())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="the store is closed"):
        await writer.submit(lambda _: 5)
    held.go.set()
    assert await asyncio.gather(first, *waiting) == [0, 1, 2, 3]
    await closing


class DyingCommitter(HeldCommitter):
    """A committer with a bug that is no unit's."""

    def commit(self, units: list[Any]) -> list[Done]:
        assert self.go.wait(LIMIT_S)
        raise MemoryError


async def test_a_writer_that_dies_tells_everyone_who_waits() -> None:
    dying = DyingCommitter()
    writer = writer_over(dying, Limits())
    waiting = [asyncio.create_task(writer.submit(partial(answer, n))) for n in (1, 2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.append(asyncio.create_task(writer.submit(partial(answer, 3))))
    await asyncio.sleep(0)
    dying.go.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in results] == [Unavailable] * 3
    with pytest.raises(Unavailable, match="closed"):
        await writer.submit(partial(answer, 4))
    with pytest.raises(MemoryError):
        await writer.close()
