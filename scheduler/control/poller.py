"""Keeps one loop of looks going for every host, each costing nobody but itself.

A host that hangs waits in its own lane; one whose poll hits a bug is parked. libvirt's events only
make the next look come sooner.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from zlib import crc32

import structlog

from scheduler.clock import Clock
from scheduler.control.bugs import BugReport
from scheduler.control.looks import Look, Looker
from scheduler.control.loop import Loop, Observer, unobserved
from scheduler.control.parking import Parking
from scheduler.control.vitals import Turn
from scheduler.errors import NotFound, SandboxdError
from scheduler.model import HostHealth
from scheduler.store import Store

AGAIN_SECONDS = 2.0
"""A host that is neither well nor given up is looked at again this soon."""
POLL = "poll"
"""What each host's loop is called, to those who count passes."""
REST_SECONDS = 0.25
"""However many hints a busy host gives, this long lies between two looks at it."""

Looked = Callable[[Look], Awaitable[None]]
"""Told what came of each look, before the next one begins."""

_log = structlog.get_logger("scheduler.control")


class Poller:
    """Looks at every host of the store, every `every` seconds and when hinted."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        looker: Looker,
        *,
        every: float,
        looked: Looked,
        gone: Callable[[str], None],
        report_bug: BugReport,
        observe: Observer = unobserved,
        rested: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._looker = looker
        self._every = every
        self._looked = looked
        self._gone = gone
        self._report_bug = report_bug
        self._observe = observe
        self._rested = rested
        self._parking = Parking()
        self._scattered: set[str] = set()
        self._loops: dict[str, Loop] = {}
        self._membership = Loop(
            "membership", self._meet, every=every, limit=None, clock=clock, observe=observe
        )
        self._group: asyncio.TaskGroup | None = None

    def wake(self, host_id: str) -> None:
        """Look at a host as soon as may be; an unknown one is looked up first."""
        loop = self._loops.get(host_id)
        if loop is not None:
            loop.wake()
        else:
            self._membership.wake()

    def hint(self, host_id: str) -> None:
        """Take a hint that something happened on a host; one that is parked stays so."""
        if not self._parking.failures(host_id):
            self.wake(host_id)

    def turns(self) -> tuple[Turn, ...]:
        """Return where each host's loop is, and the one that begins and ends them."""
        return (self._membership.turn, *(loop.turn for loop in self._loops.values()))

    async def run(self) -> None:
        """Poll until stopped."""
        async with asyncio.TaskGroup() as self._group:
            await self._membership.run()
            for loop in self._loops.values():
                loop.stop()

    def stop(self) -> None:
        """Let the looks in progress end and begin no further ones."""
        self._membership.stop()
        for loop in self._loops.values():
            loop.stop()

    async def _meet(self) -> None:
        """Begin to poll new hosts, and stop polling those that were removed."""
        known = {host.id for host in await self._store.read(lambda tx: tx.hosts.readable())}
        for host_id in known - self._loops.keys():
            self._begin(host_id)
        for host_id in self._loops.keys() - known:
            self._loops.pop(host_id).stop()

    def _begin(self, host_id: str) -> None:
        if self._group is None:
            raise RuntimeError("the poller polls only while it runs")
        loop = Loop(
            POLL,
            partial(self._poll, host_id),
            every=self._every,
            limit=None,
            rest=REST_SECONDS,
            clock=self._clock,
            observe=self._observe,
        )
        self._loops[host_id] = loop
        self._group.create_task(self._attend(host_id, loop), name=f"poll {host_id}")

    async def _attend(self, host_id: str, loop: Loop) -> None:
        """Poll a host for as long as it is ours; forget it only after its last look has ended."""
        await loop.run()
        if self._loops.get(host_id) is not loop:
            self._parking.succeeded(host_id)
            self._scattered.discard(host_id)
            self._looker.forget(host_id)
            self._gone(host_id)
        if not self._loops:  # here, after its last pass was told
            self._rested(POLL)

    async def _poll(self, host_id: str) -> float | None:
        """Look once; a bug met on the way parks this host and tells of it loudly."""
        try:
            look = await self._looker.look(host_id)
            await self._looked(look)
        except NotFound:
            self._membership.wake()
            return None
        except SandboxdError as error:
            _log.warning("parked", loop=POLL, key=host_id, code=error.code, error=error.message)
            return self._parking.failed(host_id)
        except Exception:
            pause = self._parking.failed(host_id, bug=True)
            evidence = traceback.format_exc()
            _log.exception("parked", loop=POLL, key=host_id, seconds=round(pause, 1))
            await self._report_bug(host_id, evidence)
            return pause
        self._parking.succeeded(host_id)
        settled = look.host.health is HostHealth.UP or look.given_up
        return self._scatter(host_id) if settled else min(AGAIN_SECONDS, self._every)

    def _scatter(self, host_id: str) -> float | None:
        """Return a first pause of a host's own, so that hosts met together part company for good.

        A fleet that is looked at in one moment every time keeps the event loop for all of it.
        """
        if host_id in self._scattered:
            return None
        self._scattered.add(host_id)
        return self._every * crc32(host_id.encode()) / 2**32
