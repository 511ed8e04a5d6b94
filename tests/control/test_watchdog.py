"""The watchdog is fed while all parts turn, and told once when one does not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from scheduler.control.loop import STORE_AGAIN_SECONDS, Loop
from scheduler.control.watchdog import (
    AGAIN_SECONDS,
    CHECK_SECONDS,
    WRITER_SECONDS,
    Watchdog,
    writer_loop,
)
from scheduler.errors import Unavailable
from scheduler.notify import Notifier
from scheduler.store import Store, StoreConfig
from tests.clocks import ManualClock
from tests.supervisors import heard
from tests.waits import until

WATCHDOG_SECONDS = 60


@dataclass
class Site:
    """A watchdog over one loop, and the supervisor that hears it."""

    supervisor: socket.socket
    notifier: Notifier
    clock: ManualClock = field(default_factory=ManualClock)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    lag: float = 0.0
    counted: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()
        self.loop = Loop("reap", self.work, every=10, limit=None, longest=5, clock=self.clock)
        self.watchdog = Watchdog(
            self.clock,
            self.notifier,
            turns=lambda: (self.loop.turn,),
            lag_seconds=lambda: self.lag,
            count=self.counted.append,
        )

    async def work(self) -> float | None:
        await self.gate.wait()
        return None

    async def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            for _ in range(10):
                await asyncio.sleep(0)

    def heard(self) -> list[str]:
        return heard(self.supervisor)


@pytest.fixture
def site(supervisor: socket.socket) -> Iterator[Site]:
    environ = {
        "NOTIFY_SOCKET": supervisor.getsockname(),
        "WATCHDOG_USEC": str(WATCHDOG_SECONDS * 1_000_000),
    }
    with closing(Notifier(environ)) as notifier:
        yield Site(supervisor, notifier)


async def test_it_is_fed_twice_an_interval_while_all_is_well(site: Site) -> None:
    watching = Loop(
        "watchdog",
        site.watchdog.check,
        every=site.watchdog.every_seconds,
        limit=None,
        clock=site.clock,
    )
    tasks = [asyncio.create_task(loop.run()) for loop in (site.loop, watching)]
    await asyncio.sleep(0)
    await site.pass_time(5 * WATCHDOG_SECONDS)
    assert site.heard() == ["WATCHDOG=1"] * 11
    assert set(site.counted) == {0}
    for loop in (site.loop, watching):
        loop.stop()
    await asyncio.gather(*tasks)


async def test_a_loop_that_hangs_ends_the_feeding_until_it_goes_on(site: Site) -> None:
    running = asyncio.create_task(site.loop.run())
    await site.pass_time(1)
    site.gate.clear()
    await site.pass_time(10 + 5 + WATCHDOG_SECONDS)
    with capture_logs() as logs:
        for _ in range(3):
            site.clock.advance(1)
            assert await site.watchdog.check() == AGAIN_SECONDS
    (told,) = logs
    assert (told["log_level"], told["parts"]) == ("error", ("reap has been at one turn for 66 s",))
    assert site.heard() == ["STATUS=stuck: reap has been at one turn for 66 s"]
    assert site.watchdog.missing() == ("reap has been at one turn for 68 s",)
    assert site.counted[-1] == 1

    site.gate.set()
    await site.pass_time(1)
    with capture_logs() as logs:
        for _ in range(2):
            assert await site.watchdog.check() is None
    assert [line["event"] for line in logs] == [
        "nothing is stuck any more; the watchdog is fed again"
    ]
    assert site.heard() == ["STATUS=running", "WATCHDOG=1", "WATCHDOG=1"]
    assert site.watchdog.missing() == ()
    site.loop.stop()
    await running


async def test_an_event_loop_that_lags_is_not_vouched_for(site: Site) -> None:
    site.lag = 7.0
    assert await site.watchdog.check() == AGAIN_SECONDS
    assert site.heard() == ["STATUS=stuck: the event loop wakes 7 s late"]


async def test_without_a_supervisor_the_parts_are_looked_at_all_the_same(
    supervisor: socket.socket,
) -> None:
    site = Site(supervisor, Notifier({}))
    assert site.watchdog.every_seconds == CHECK_SECONDS
    assert await site.watchdog.check() is None
    site.lag = 7.0
    await site.watchdog.check()
    assert site.watchdog.missing() == ("the event loop wakes 7 s late",)


class Fickle(Store):
    """A store whose database may be away."""

    away = False

    async def ping_writer(self) -> None:
        if self.away:
            raise Unavailable("the database does not answer")
        await super().ping_writer()


async def test_the_writer_is_well_while_it_answers(tmp_path: Path) -> None:
    clock = ManualClock()
    config = StoreConfig(database_url=f"sqlite:///{tmp_path / 'a.db'}")
    async with Fickle.open(config, clock=clock) as store:
        assert isinstance(store, Fickle)
        loop = writer_loop(store, clock)
        running = asyncio.create_task(loop.run())
        await until(lambda: loop.turn.overdue_seconds(clock.monotonic()) == -WRITER_SECONDS)
        store.away = True
        clock.advance(100)
        # A refusal is an answer: ending the daemon would not bring the database back.
        await until(lambda: loop.turn.overdue_seconds(clock.monotonic()) == -STORE_AGAIN_SECONDS)
        loop.stop()
        await running
