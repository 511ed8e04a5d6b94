"""The doctor: what is wrong with each host and with the control node, and what mends it.

Hosts are judged by their records and by what the loops last saw; none is asked for anything now, so
that the answer comes at once however many of them hang. A database that is away is a finding too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from scheduler.clock import Clock
from scheduler.diagnosis.authorities import check_authorities
from scheduler.diagnosis.checks import Check, healthy
from scheduler.diagnosis.facts import HostFacts, NodeFacts, StoreFacts
from scheduler.diagnosis.hosts import check_host
from scheduler.diagnosis.node import check_node, check_store
from scheduler.errors import SandboxdError
from scheduler.hosts.local_files import look_at_ssh_files
from scheduler.model import HostResources
from scheduler.service.clock_trust import clock_trust
from scheduler.service.sightings import Sightings
from scheduler.store import EventFilter, Store, Transaction

WRITER_SECONDS = 5.0
"""How long the store's writer may take to answer."""
CLOCK_STEPS_WITHIN = timedelta(days=1)
MOST_CLOCK_STEPS = 100

LookAtNode = Callable[[], NodeFacts]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorReport:
    """Every check, the control node's first, and whether none failed."""

    at: datetime
    healthy: bool
    checks: tuple[Check, ...]


class DoctorService:
    """Examines; changes nothing."""

    def __init__(
        self, store: Store, clock: Clock, *, sightings: Sightings, node: LookAtNode | None
    ) -> None:
        self._store = store
        self._clock = clock
        self._sightings = sightings
        self._node = node

    async def examine(self) -> DoctorReport:
        """Return every check of the control node and of all hosts."""
        now = self._clock.now()
        store, hosts = await self._ask_store(now)
        node = () if self._node is None else tuple(check_node(self._node()))
        of_hosts = await asyncio.to_thread(lambda: tuple(self._of_hosts(hosts, now)))
        trust = check_authorities(store.authorities, store.guests_by_authority, now)
        checks = (*check_store(store), *node, *trust, *of_hosts)
        return DoctorReport(at=now, healthy=healthy(checks), checks=checks)

    async def _ask_store(self, now: datetime) -> tuple[StoreFacts, Collection[HostResources]]:
        def read(tx: Transaction) -> tuple[StoreFacts, Collection[HostResources]]:
            hosts, trust = tx.hosts.readable(), clock_trust(tx)
            facts = StoreFacts(
                hosts=len(hosts),
                clock_steps=_clock_steps(tx, now),
                clock_doubted_until=None if trust is None else trust.until,
                unreadable=tuple(error.message for error in tx.unreadable()),
                authorities=tx.ssh_authorities.all(),
                guests_by_authority=tx.ssh_authorities.guest_counts(),
            )
            return facts, hosts

        try:
            facts, hosts = await self._store.read(read)
        except SandboxdError as error:
            return StoreFacts(fault=error.message, remedy=error.remedy), ()
        try:
            async with asyncio.timeout(WRITER_SECONDS):
                await self._store.ping_writer()
        except TimeoutError:
            return replace(facts, fault=f"its writer did not answer in {WRITER_SECONDS:g} s"), hosts
        except SandboxdError as error:
            return replace(facts, fault=error.message, remedy=error.remedy), hosts
        return facts, hosts

    def _of_hosts(self, hosts: Collection[HostResources], now: datetime) -> Iterator[Check]:
        for host in hosts:
            facts = HostFacts(
                host=host,
                inventory=self._sightings.of(host.id).latest,
                ssh=look_at_ssh_files(host),
                stale_after_seconds=self._sightings.stale_after_seconds,
            )
            yield from check_host(facts, now)


def _clock_steps(tx: Transaction, now: datetime) -> dict[datetime, float]:
    stepped = EventFilter(kind="clock.stepped")
    since = tx.events.before_last(MOST_CLOCK_STEPS, stepped)
    return {
        event.at: float(str(event.evidence.get("seconds", 0.0)))
        for event in tx.events.find(since, stepped)
        if now - event.at <= CLOCK_STEPS_WITHIN
    }
