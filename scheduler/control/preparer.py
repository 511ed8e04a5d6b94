"""Prepares source VMs: one item is one source, and its record says which step is next.

A step is recorded as begun before anything is done for it and with its result after that. A daemon
that died in between leaves a step begun, and it is taken again: every one looks before it does.
What goes wrong ends the preparation with its reason, and an operator asks again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from scheduler.clock import Clock
from scheduler.control.source_places import Drivers, host_of, place_of
from scheduler.errors import GuestError, HostError, NotFound, SandboxdError
from scheduler.guests.source_preparation import Taken, arguments_of, prove, take_step
from scheduler.guests.source_ways import Entered, Place, SourceWays
from scheduler.model import Event, SourceVM
from scheduler.sources import preparations
from scheduler.sources.preparations import Outcome, Preparation, StepName, from_json, to_json
from scheduler.store import Store, Transaction


class Preparer:
    """Works on one source at a time; `Workers` sees to it that nobody else does."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        drivers: Drivers,
        ways: SourceWays,
        told: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._drivers = drivers
        self._ways = ways
        self._told = told

    async def prepare(self, source_id: str) -> float | None:
        """Take a source through the steps that are left; None when it rests."""
        try:
            left: SourceVM | None = await self._store.read(lambda tx: tx.source_vms.get(source_id))
        except NotFound:
            return None
        async with AsyncExitStack() as stack:
            way = _Way(self._store, self._drivers, self._ways, stack)
            while left is not None:
                left = await self._step(left, way)
        return None

    async def pending(self) -> tuple[str, ...]:
        """Return the ids of the sources whose preparation is not over."""
        sources = await self._store.read(lambda tx: tx.source_vms.readable())
        return tuple(one.id for one in sources if _running(one) is not None)

    async def _step(self, source: SourceVM, way: _Way) -> SourceVM | None:
        """Take the next step of a source; return it as it is then, None when it is over."""
        preparation = _running(source)
        step = None if preparation is None else preparation.next_step
        if preparation is None or step is None:
            return None
        begun = preparations.begun(preparation, step.name, self._clock.now())
        source = await self._write(source, begun)
        try:
            taken = await way.take(step.name, source, begun)
        except (GuestError, HostError) as error:
            await self._fail(source, begun, step.name, error)
            return None
        return await self._done(source, begun, step.name, taken, way)

    async def _done(
        self, source: SourceVM, begun: Preparation, name: StepName, taken: Taken, way: _Way
    ) -> SourceVM:
        done = preparations.done(begun, name, taken.said, self._clock.now())
        if name is StepName.SURVEY:
            done = replace(done, secrets=taken.secrets, cloud_init=taken.cloud_init)
        if name is StepName.LOG_IN and way.entered is not None:
            source = replace(source, host_key=way.entered.host_key)
        if done.outcome is Outcome.PREPARED:
            source = replace(
                source,
                prepared=True,
                prepared_at=done.ended_at,
                ca_fingerprint=self._ways.authority.fingerprint,
            )
        return await self._write(source, done)

    async def _fail(
        self, source: SourceVM, begun: Preparation, name: StepName, error: SandboxdError
    ) -> None:
        now = self._clock.now()
        await self._write(
            source, preparations.failed(begun, name, error.message, error.remedy, now)
        )

    async def _write(self, source: SourceVM, preparation: Preparation) -> SourceVM:
        written = await self._store.submit(partial(self._record, source, preparation))
        self._told()
        return written

    def _record(self, source: SourceVM, preparation: Preparation, tx: Transaction) -> SourceVM:
        now = self._clock.now()
        wanted = replace(source, prepare_json=to_json(preparation), updated_at=now)
        if not preparation.running:
            tx.events.add(_ended(tx, wanted, preparation))
        return tx.source_vms.replace(wanted)


class _Way:
    """The way into one source for the length of a turn: looked up and logged in once."""

    def __init__(
        self, store: Store, drivers: Drivers, ways: SourceWays, stack: AsyncExitStack
    ) -> None:
        self._store = store
        self._drivers = drivers
        self._ways = ways
        self._stack = stack
        self._place: Place | None = None
        self.entered: Entered | None = None

    async def take(self, name: StepName, source: SourceVM, preparation: Preparation) -> Taken:
        """Take a step; raises `GuestError` or `HostError`."""
        if self._place is None:
            self._place = await place_of(self._store, self._drivers, source, preparation)
        place = replace(self._place, source=source)
        if name is StepName.PROVE:
            # By the authority that signs now, whatever it was prepared with before.
            fresh = replace(source, ca_fingerprint=None)
            return await prove(self._ways, replace(place, source=fresh))
        if self.entered is None:
            self.entered = await self._stack.enter_async_context(
                self._ways.as_operator(place, preparation.user)
            )
        arguments = arguments_of(name, place, self._ways)
        return await take_step(name, self.entered, preparation.user, *arguments)


def _running(source: SourceVM) -> Preparation | None:
    preparation = from_json(source.prepare_json)
    return preparation if preparation is not None and preparation.running else None


def _ended(tx: Transaction, source: SourceVM, preparation: Preparation) -> Event:
    try:
        host_id: str | None = host_of(tx, source).id
    except GuestError:
        host_id = None
    prepared = preparation.outcome is Outcome.PREPARED
    title = f"source VM {source.host_name}/{source.name}"
    return Event(
        at=source.updated_at,
        kind="source.prepared" if prepared else "source.prepare_failed",
        actor="sandboxd",
        host_id=host_id,
        reason_code=preparation.outcome.value,
        message=f"{title} is prepared"
        if prepared
        else f"{title} was not prepared: {preparation.reason}",
        evidence={"source_id": source.id, "authority": source.ca_fingerprint},
    )
