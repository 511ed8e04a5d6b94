"""Keeps builds off hosts where they keep failing, and lets one through now and then to see.

What is open is written into the host's record with its event, so that placement, operators and the
next daemon see it. How builds lately ended is kept in memory: a restart forgets failures that had
not opened anything yet, which costs a broken host a few more builds and nobody anything else.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial

from scheduler.clock import Clock
from scheduler.errors import Conflict
from scheduler.lifecycle import breaker
from scheduler.lifecycle.breaker import BreakerRules, Outcome
from scheduler.lifecycle.steps import Barred, Step
from scheduler.model import Breaker, Event, HostResources, Sandbox
from scheduler.service.fleet import FleetView
from scheduler.service.lease_time import lease_time
from scheduler.store import Store, Transaction

Change = Callable[[HostResources, datetime], tuple[tuple[Breaker, ...], Event]]
"""From a host as it is now to its breakers as they are to be, and what to tell of it."""


class Breakers:
    """Remembers how builds end, and opens and closes the breakers of hosts."""

    def __init__(
        self, store: Store, clock: Clock, *, fleet: FleetView, rules: BreakerRules
    ) -> None:
        self._store = store
        self._clock = clock
        self._fleet = fleet
        self._rules = rules
        self._past: tuple[Outcome, ...] = ()

    def barred(self, sandbox: Sandbox, host: HostResources, *, now: datetime) -> Barred | None:
        """Return why the host does not build this sandbox now; None when it does.

        Now is counted as the ends of breakers are, which follow a step of the clock a little later.
        """
        return breaker.barred(host.breakers, sandbox, host_name=host.name, now=now)

    async def admit(self, sandbox: Sandbox, host: HostResources) -> None:
        """Let a build through, as the one that tells how the host is now if that is asked.

        Raises `Conflict` when another one was let through meanwhile.
        """
        if not breaker.half_open(host.breakers, sandbox):
            return

        def admitted(current: HostResources, now: datetime) -> tuple[tuple[Breaker, ...], Event]:
            barred = self.barred(sandbox, current, now=now)
            if barred is not None:
                raise Conflict(barred.message, remedy="Wait until that one has ended.")
            breakers = breaker.admitted(current.breakers, sandbox, now=now, rules=self._rules)
            message = f"{sandbox.id} is built on {current.name} to see whether builds succeed again"
            return breakers, _event(current, sandbox, "probing", message, now)

        await self._write(host.id, admitted)

    async def took(
        self, sandbox: Sandbox, host: HostResources, step: Step, *, now: datetime
    ) -> None:
        """Learn from the step that a sandbox takes now, if it says how its build ended there."""
        outcome = breaker.outcome_of(sandbox, step, now)
        if outcome is None:
            return
        before = self._past
        self._past = breaker.remembered(before, outcome, self._rules)
        if outcome.failure is None:
            if any(one.concerns(sandbox.base_image) for one in host.breakers):
                await self._write(host.id, partial(_closed, sandbox))
        else:
            await self._failed(sandbox, host, outcome, outcome.failure)

    async def _failed(
        self, sandbox: Sandbox, host: HostResources, outcome: Outcome, failure: str
    ) -> None:
        images = {one.image for one in breaker.probed(host.breakers, sandbox.id)}
        if not images:
            fleet = self._fleet.hosts()
            images = set(
                breaker.tripped(
                    self._past,
                    outcome,
                    self._rules,
                    barred=sum(_barred_whole(one, outcome.at) for one in fleet),
                    hosts=len(fleet),
                )
            )
            images -= {one.image for one in host.breakers if one.bars(outcome.image, outcome.at)}
        for image in images:
            await self._write(host.id, partial(self._opened, sandbox, image, failure))

    def _opened(
        self,
        sandbox: Sandbox,
        image: str | None,
        failure: str,
        host: HostResources,
        now: datetime,
    ) -> tuple[tuple[Breaker, ...], Event]:
        breakers = breaker.opened(host.breakers, image, reason=failure, now=now, rules=self._rules)
        until = breakers[-1].retry_at
        what = "nothing" if image is None else f"nothing from {image}"
        message = f"{host.name} builds {what} until {until:%H:%M:%S} UTC: {failure}"
        return breakers, _event(host, sandbox, "open", message, now)

    async def _write(self, host_id: str, change: Change) -> None:
        def unit(tx: Transaction) -> HostResources:
            breakers, event = change(tx.hosts.get(host_id), lease_time(tx, self._clock))
            tx.events.add(event)
            return tx.hosts.set_breakers(host_id, breakers, at=event.at)

        self._fleet.put(await self._store.submit(unit))


def _closed(
    sandbox: Sandbox, host: HostResources, now: datetime
) -> tuple[tuple[Breaker, ...], Event]:
    message = f"{sandbox.id} came up on {host.name}, which builds from {sandbox.base_image} again"
    return (
        breaker.closed(host.breakers, sandbox.base_image),
        _event(host, sandbox, "closed", message, now),
    )


def _event(host: HostResources, sandbox: Sandbox, state: str, message: str, at: datetime) -> Event:
    return Event(
        at=at,
        kind="host.breaker",
        host_id=host.id,
        sandbox_id=sandbox.id,
        reason_code=state,
        message=message,
        evidence={"image": sandbox.base_image},
    )


def _barred_whole(host: HostResources, now: datetime) -> bool:
    return any(one.image is None and one.since <= now < one.retry_at for one in host.breakers)
