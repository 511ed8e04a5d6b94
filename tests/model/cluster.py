"""The whole world of the model: one store, four machines, one daemon after the other.

Every step runs the one loop until its work is done or the daemon has died; then the next daemon
begins over the same store and the same machines, and nothing of the old one is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from scheduler.errors import NotFound
from scheduler.hosts.marks import Keyring
from scheduler.lifecycle.orphans import owner_named
from scheduler.service.idempotency import KEPT_FOR
from scheduler.service.intents import Intent
from scheduler.store import Transaction
from scheduler.validation.hosts import AddHost
from tests.control.world import CLUSTER, ME
from tests.model.books import Books, Commit
from tests.model.daemon import Daemon, daemon
from tests.model.frozen import Frozen
from tests.model.invariants import (
    BY_COMMIT,
    BY_STEP,
    Leases,
    Moment,
    i4_intent_is_committed,
)
from tests.model.machines import Machine, Slot
from tests.model.spool import Spool
from tests.model.virtual import VirtualClock, VirtualLoop

T = TypeVar("T")

HOSTS = ("alpha", "beta", "gamma", "delta")
CPUS, MEMORY_MB = 4, 4096
TAKEN_BACK = frozenset({"sandbox.adopted", "sandbox.reaped"})
"""What was forgotten is looked after again."""
SNAPPED = frozenset({"snapshot.ready", "snapshot.reverted", "snapshot.deleted"})


class InvariantBroken(AssertionError):
    """What must always be true is not."""


@dataclass
class Counts:
    """How much a run has seen, for the report of a long one."""

    commits: int = 0
    calls: int = 0
    deaths: int = 0
    claims: int = 0
    moves: int = 0
    asked_moves: int = 0
    """Those of a sandbox that was up, with its disk."""
    buried: int = 0
    snapped: int = 0
    """Snapshots made, gone back to and deleted."""

    def add(self, other: Counts) -> None:
        """Add what another run has seen."""
        for name, count in vars(other).items():
            setattr(self, name, getattr(self, name) + count)


class Cluster:
    """See the module. `url` names an empty database with its schema."""

    def __init__(self, url: str) -> None:
        self.loop = VirtualLoop()
        self.clock = VirtualClock(self.loop)
        self.rack: dict[str, Slot] = {}
        self.leases = Leases()
        self.frozen = Frozen()
        self.spool = Spool()
        self.counts = Counts()
        self.sandbox_ids: list[str] = []
        """Every creation that was acknowledged, in order."""
        self.excused: set[str] = set()
        """The sandboxes that were forgotten: what is left of them is known and nobody's fault."""
        self.is_broken = False
        self._url = url
        self._keyring = Keyring([b"model" * 7], str(CLUSTER))
        self._owners: dict[str, str] = {}
        self._answers: dict[str, tuple[str, datetime]] = {}
        self._complaints: list[str] = []
        self._stack = AsyncExitStack()
        self._machines = 0
        self._begin()
        for name in HOSTS:
            self.run(self._enrol(name))

    @property
    def daemon(self) -> Daemon:
        return self._daemon

    @property
    def slots(self) -> dict[str, Slot]:
        """Return the slots by their names."""
        return {slot.name: slot for slot in self.rack.values()}

    def run(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do some work; None when the daemon died of it, and a new one has begun."""
        answer = self.loop.run_until_complete(self._unless_death(work))
        if self._daemon.life.over:
            self.restart()
        return answer

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.frozen.write(self.rack)
        self.run(asyncio.sleep(seconds))

    def read(self, unit: Callable[[Transaction], T]) -> T:
        """Return what the store says, whether the daemon lives to see it or not."""
        answer = self.run(self._daemon.store.read(unit))
        return self.read(unit) if answer is None else answer

    def acknowledge(self, request: str, sandbox_id: str) -> None:
        """Take note of a creation's answer, which is the same whenever the same is asked (I9)."""
        first, at = self._answers.setdefault(request, (sandbox_id, self.clock.now()))
        if first != sandbox_id and self.clock.now() - at < KEPT_FOR:
            self._complain("i9_one_answer", [f"{request} is {first}, and {sandbox_id} too"])
        if sandbox_id not in self.sandbox_ids:
            self.sandbox_ids.append(sandbox_id)

    def restart(self, down_seconds: float = 0.0, *, boots: bool = False) -> None:
        """Kill the daemon if it lives, and begin a new one a while later."""
        self.counts.deaths += 1
        books = self.loop.run_until_complete(self._sweep())
        self.loop.run_until_complete(asyncio.sleep(down_seconds))
        if boots:
            self.clock.boots += 1
            self.leases.trust_the_wall(books, self.clock.now(), self.clock.boottime())
        self._begin()

    def new_machine(self, host_id: str) -> Machine:
        """Return a machine that was never seen before."""
        self._machines += 1
        return Machine.new(host_id, self._machines, cpus=CPUS, memory_mb=MEMORY_MB)

    def check(self) -> None:
        """Raise when an invariant does not hold, or did not since the last check."""
        books, known = self.read(partial(_books_and_known, list(self.sandbox_ids)))
        uptime = self.clock.monotonic() - self._daemon.began_at
        moment = Moment(
            books=books,
            rack=self.rack,
            owners=self._owners,
            excused=frozenset(self.excused),
            acknowledged=frozenset(self.sandbox_ids),
            known=known,
            turns=self._daemon.plane.turns(),
            uptime=uptime,
            now=self.clock.monotonic(),
        )
        for invariant in BY_STEP:
            self._complain(invariant.__name__, list(invariant(moment)))
        stays = self.frozen.i9_frozen_points_stay(books, self.rack, self.excused)
        self._complain("i9_frozen_points_stay", list(stays))
        if uptime > 60:
            late = self.leases.i10_nor_late(books, self.clock.boottime())
            self._complain("i10_nor_late", list(late))
        if self._complaints:
            self.is_broken = True
            raise InvariantBroken("\n".join(self._complaints))

    def close(self) -> None:
        """End everything."""
        self.loop.run_until_complete(self._sweep())
        self.loop.close()

    def _begin(self) -> None:
        opened = daemon(
            self._url,
            self.clock,
            self.rack,
            self._keyring,
            spool=self.spool,
            judge=self._judge,
            called=self._called,
        )
        self._daemon = self.loop.run_until_complete(self._stack.enter_async_context(opened))

    async def _enrol(self, name: str) -> None:
        request = AddHost(name=name, transport="test", uri="test:///default", ratio_cpu=1.0)
        record = await self._daemon.services.hosts.add(request, Intent(actor=ME))
        self.rack[record.id] = Slot(name, record.id, self.new_machine(record.id))

    async def _unless_death(self, work: Coroutine[Any, Any, T]) -> T | None:
        loops, life = self._daemon.loops, self._daemon.life
        task, death = asyncio.create_task(work), asyncio.create_task(life.died.wait())
        await asyncio.wait({task, death, loops}, return_when=asyncio.FIRST_COMPLETED)
        if loops.done() and not life.over:
            task.cancel()
            self._complaints.append(f"the loops ended: {loops.exception()!r}")
            life.end()
        death.cancel()
        return task.result() if task.done() and not task.cancelled() else None

    async def _sweep(self) -> Books:
        """Have the daemon gone from one moment to the next; return what it left in the store."""
        self._daemon.life.end()
        store = self._daemon.store
        mine = asyncio.current_task()
        gone = [
            task
            for task in asyncio.all_tasks()
            if task is not mine and task.get_name() != "store-writer"
        ]
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        books = await store.read_what_is_left(Books.read)
        await self._stack.aclose()
        return books

    def _judge(self, commit: Commit) -> None:
        self.counts.commits += 1
        self.counts.claims += len(commit.made)
        self.counts.moves += sum(old.host_id != new.host_id for old, new in commit.changed())
        by_wish = (old.moved_at != new.moved_at for old, new in commit.changed())
        self.counts.asked_moves += sum(by_wish)
        self.counts.buried += len(commit.buried)
        self.counts.snapped += sum(one.kind in SNAPPED for one in commit.events)
        for sandbox in commit.after.sandboxes.values():
            self._owners[sandbox.domain_uuid or ""] = sandbox.id
        forgotten = (one for one in commit.events if one.reason_code == "forgotten")
        self.excused |= {one.sandbox_id or "" for one in forgotten}
        taken_back = (one for one in commit.events if one.kind in TAKEN_BACK)
        self.excused -= {one.sandbox_id or "" for one in taken_back}
        for invariant in BY_COMMIT:
            self._complain(invariant.__name__, list(invariant(commit, self.rack)))
        early = self.leases.i10_neither_early_nor_twice(commit)
        self._complain("i10_neither_early_nor_twice", list(early))

    def _called(self, books: Books, host_id: str, verb: str, thing: str) -> None:
        self.counts.calls += 1
        owner = self._owners.get(thing) or owner_named(thing)
        if owner in self.excused:
            return  # forgotten in the middle of work whose intent was committed before
        wrong = i4_intent_is_committed(books, host_id, verb, thing, owner)
        self._complain("i4_intent_is_committed", list(wrong))

    def _complain(self, invariant: str, wrong: list[str]) -> None:
        self._complaints += [f"{invariant}: {one}" for one in wrong]


def _books_and_known(ids: list[str], tx: Transaction) -> tuple[Books, frozenset[str]]:
    return Books.read(tx), frozenset(id for id in ids if _is_there(tx, id))


def _is_there(tx: Transaction, id: str) -> bool:
    try:
        tx.sandboxes.get(id)
    except NotFound:
        return False
    return True
