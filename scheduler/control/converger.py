"""Brings one sandbox, step by step, to what was asked for.

Level-triggered: each turn reads the record, looks at the host, lets the pure rules judge and takes
the one step they order. A turn cut short by a crash is simply judged again from what is there, so
there is one repair path and it runs all the time.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial

from scheduler.control.breakers import Breakers
from scheduler.control.build_queue import ASK_AGAIN_SECONDS, BuildQueue
from scheduler.control.captures import Captures
from scheduler.control.effects import Effects
from scheduler.control.listings import Listings
from scheduler.control.mover import Mover
from scheduler.control.records import Records, Standing, untouched
from scheduler.control.relocator import Relocator
from scheduler.control.seekers import Seekers
from scheduler.control.snapshot_effects import (
    BUSY_AGAIN_SECONDS,
    SNAPSHOT_STEPS,
    SnapshotEffects,
    SnapshotStep,
    Task,
)
from scheduler.errors import Conflict, HostRefused, HostTimeout, NotFound
from scheduler.hosts import ObjectBusy
from scheduler.hosts.driver import HostDriver
from scheduler.lifecycle import moves
from scheduler.lifecycle.alternates import arriving, coming_up, stranded
from scheduler.lifecycle.drift import judge, sight, witness
from scheduler.lifecycle.sightings import Absent, Seen
from scheduler.lifecycle.steps import (
    Become,
    Build,
    Capture,
    Clear,
    ConditionKind,
    Limits,
    Move,
    Note,
    PowerOff,
    Relocate,
    Resume,
    SeekAddress,
    Settled,
    ShutDown,
    Start,
    Step,
    TearDown,
    TrySsh,
    Wait,
)
from scheduler.model import DesiredState, HostHealth, HostResources, Phase, Sandbox, SandboxState

STEPS_A_TURN = 24
"""More steps than any sandbox needs from request to rest; beyond it others get their turn."""
MOST_LOST_A_TURN = 3
"""So often the record may change under a turn before its item is parked."""
AT_ONCE_A_HOST = 64
"""Sandboxes of one host that are worked on at once; the others wait here, not in its lane."""

_JUDGED = (HostRefused, HostTimeout)
_AT_ONCE = 0.0
_LOOK_AGAIN_SECONDS = 1.0
_CAPTURING_SECONDS = 2.0
_SHORTEST_PAUSE_SECONDS = 0.05
_PAUSES: Mapping[str, float | None] = {
    "domain_busy": 2.0,
    "shutting_down": 1.0,
    "paused": None,
    "not_observed": None,
    "host_unreachable": None,
    "foreign_domain": None,
    "breaker_open": 5.0,
    "breaker_probing": 1.0,
}
"""How long each kind of waiting lasts; None means that the host's next poll will wake us."""

_BUSY_PAUSES: Mapping[type[Step], float] = {TearDown: 30.0}
"""A pool may be busy with one copy for an hour, and keep all that is being destroyed waiting."""

RESTING = frozenset(
    {
        (DesiredState.RUNNING, SandboxState.RUNNING),
        (DesiredState.STOPPED, SandboxState.STOPPED),
        (DesiredState.RUNNING, SandboxState.ERROR),
        (DesiredState.STOPPED, SandboxState.ERROR),
    }
)

Carry = Callable[[Sandbox, HostResources, HostDriver], Awaitable[None]]


class Converger:
    """Works on one sandbox at a time; `Workers` sees to it that nobody else does."""

    def __init__(
        self,
        *,
        records: Records,
        effects: Effects,
        listings: Listings,
        relocator: Relocator,
        captures: Captures,
        mover: Mover,
        breakers: Breakers,
        builds: BuildQueue,
        drivers: Callable[[HostResources], HostDriver],
        limits: Limits,
        replicate: Callable[[str], None],
        snapshots: SnapshotEffects,
    ) -> None:
        self._records = records
        self._effects = effects
        self._relocator = relocator
        self._captures = captures
        self._mover = mover
        self._breakers = breakers
        self._builds = builds
        self._listings = listings
        self._drivers = drivers
        self._limits = limits
        self._replicate = replicate
        self._snapshots = snapshots
        self._seekers = Seekers()
        self._stopping = False
        self._places: defaultdict[str, asyncio.Semaphore] = defaultdict(
            partial(asyncio.Semaphore, AT_ONCE_A_HOST)
        )
        self._carriers: Mapping[type[Step], Carry] = {
            Build: effects.build,
            Start: effects.start,
            ShutDown: effects.shut_down,
            PowerOff: effects.power_off,
            Resume: effects.resume,
            TearDown: effects.tear_down,
        }

    async def converge(self, sandbox_id: str) -> float | None:
        """Take steps until the sandbox rests or must wait; return how long, or None for rest.

        Who loses a write to its owner's wish judges anew from that; it is no failure.
        """
        lost = 0
        for _ in range(STEPS_A_TURN):
            if self._stopping:
                break
            try:
                pause = await self._step(sandbox_id)
            except Conflict:
                lost += 1
                if lost > MOST_LOST_A_TURN:
                    raise
                continue
            if pause != _AT_ONCE:
                return pause
        return _LOOK_AGAIN_SECONDS

    def stop(self) -> None:
        """Take no further step after the ones in progress."""
        self._stopping = True

    def heed(self, host: HostResources) -> None:
        """Go by a host's record as it is by now: more may be built there than before."""
        self._builds.allow(host.id, host.max_concurrent_builds)

    def forget(self, host_id: str) -> None:
        """Drop what was kept of a host that is no more."""
        self._places.pop(host_id, None)
        self._builds.forget(host_id)

    async def _step(self, sandbox_id: str) -> float | None:
        self._seekers.leave(sandbox_id)
        try:
            standing = await self._records.standing(sandbox_id)
        except NotFound:
            return None
        if not standing.sandbox.live:
            return None
        async with self._places[standing.host.id]:
            return await self._turn(standing)

    async def _turn(self, standing: Standing) -> float | None:
        sandbox, host = standing.sandbox, standing.host
        if sandbox.desired_state is DesiredState.DESTROYED:
            if standing.left_elsewhere and _has_left(sandbox):
                return None
            if untouched(sandbox):
                self._builds.leave(host.id, sandbox.id)
                await self._records.bury(sandbox)
                return _AT_ONCE
        driver = self._drivers(host)
        seen = await self._look(standing, driver)
        barred = self._breakers.barred(sandbox, host, now=standing.now)
        step = judge(
            sandbox,
            seen,
            now=standing.now,
            limits=self._limits,
            barred=barred,
            pool_free_mb=host.observed_storage_available_mb,
            snapshot=standing.snapshot,
        )
        if isinstance(step, Build):
            return await self._build(step, standing, driver)
        self._builds.leave(host.id, sandbox.id)
        await self._breakers.took(sandbox, host, step, now=standing.now)
        if moves.runs_again(sandbox, step) and await self._mover.copies_anew(sandbox):
            return _AT_ONCE
        if isinstance(step, Relocate):
            why_not = await self._relocator.relocate(sandbox, step)
            if why_not is None:
                return _AT_ONCE
            step = stranded(step, why_not)
        return await self._take(step, standing, driver)

    async def _take(self, step: Step, standing: Standing, driver: HostDriver) -> float | None:
        sandbox, host = standing.sandbox, standing.host
        if isinstance(step, SeekAddress):
            found = await self._effects.seek_address(sandbox, host, driver)
            return _AT_ONCE if found else self._seekers.pause(sandbox.id)
        if isinstance(step, Wait):
            return _pause(step, standing)
        if isinstance(step, Settled):
            return None
        if isinstance(step, Capture | Move):
            return await self._keep_disk(step, sandbox, host, driver)
        if isinstance(step, TrySsh):
            answers = await self._effects.try_ssh(sandbox, host)
            return _AT_ONCE if answers else _LOOK_AGAIN_SECONDS
        if isinstance(step, Become):
            await self._records.become(sandbox, step)
        elif isinstance(step, Note):
            await self._records.note(sandbox, step)
        elif isinstance(step, Clear):
            await self._records.clear(sandbox, step)
        elif isinstance(step, SNAPSHOT_STEPS):
            return await self._carry_snapshot(step, standing, driver)
        else:
            return await self._carry(step, sandbox, host, driver)
        return _AT_ONCE

    async def _carry_snapshot(
        self, step: SnapshotStep, standing: Standing, driver: HostDriver
    ) -> float:
        assert standing.snapshot is not None
        sandbox = standing.sandbox
        with self._listings.mutating(sandbox.id):
            return await self._snapshots.carry(
                step,
                Task(
                    snapshot=standing.snapshot, sandbox=sandbox, host=standing.host, driver=driver
                ),
            )

    async def _build(self, step: Build, standing: Standing, driver: HostDriver) -> float:
        """Build if that is this sandbox's turn on its host; else come back."""
        sandbox, host = standing.sandbox, standing.host
        replica = await self._effects.awaited_replica(sandbox, host)
        if replica is not None:
            self._builds.leave(host.id, sandbox.id)
            self._replicate(replica)
            return _LOOK_AGAIN_SECONDS
        with self._builds.turn(host.id, sandbox.id, most=host.max_concurrent_builds) as may_build:
            if not may_build:
                return ASK_AGAIN_SECONDS
            await self._breakers.admit(sandbox, host)
            return await self._carry(step, sandbox, host, driver)

    async def _keep_disk(
        self, step: Capture | Move, sandbox: Sandbox, host: HostResources, driver: HostDriver
    ) -> float:
        """Go on making an image of its disk, be it its end or a move.

        A refusal is recorded and judged, not raised.
        """
        try:
            with self._listings.mutating(sandbox.id):
                if isinstance(step, Capture):
                    more = await self._captures.capture(sandbox, host, driver)
                else:
                    more = await self._mover.move(sandbox, host)
        except HostRefused as error:
            refused = self._records if isinstance(step, Capture) else self._mover
            failed = await refused.refused(sandbox.id, error)
            return _left(failed.retry_at, failed.updated_at)
        return _AT_ONCE if more else _CAPTURING_SECONDS

    async def _carry(
        self, step: Step, sandbox: Sandbox, host: HostResources, driver: HostDriver
    ) -> float:
        """Do host work; a plain refusal is recorded and judged, not raised.

        Neither is a call without an answer, where another host may be tried instead. A host that
        is only busy refuses nothing: it is asked again until the sandbox's own time is up.
        """
        judged = _JUDGED if isinstance(step, Build | Start) and coming_up(sandbox) else HostRefused
        try:
            with self._listings.mutating(sandbox.id):
                await self._carriers[type(step)](sandbox, host, driver)
        except ObjectBusy as error:
            await self._tell_busy(sandbox, error)
            return _BUSY_PAUSES.get(type(step), BUSY_AGAIN_SECONDS)
        except judged as error:
            failed = await self._records.refused(sandbox.id, error)
            return _left(failed.retry_at, failed.updated_at)
        return _AT_ONCE

    async def _tell_busy(self, sandbox: Sandbox, error: ObjectBusy) -> None:
        """Note what is waited for, without counting a try that was none."""
        current = await self._records.again(sandbox)
        if all(condition.message != error.message for condition in current.conditions):
            await self._records.note(
                current, Note(kind=ConditionKind.FAILING, message=error.message)
            )

    async def _look(self, standing: Standing, driver: HostDriver) -> Seen:
        """Ask the host itself about a sandbox that is on its way, else trust its listings."""
        sandbox, host = standing.sandbox, standing.host
        unreachable = host.health_reason if host.health is HostHealth.DOWN else None
        rests = standing.snapshot is None and _rests(sandbox)
        if unreachable is None and not rests:
            domain = await driver.domain(sandbox.domain_uuid or "")
            if domain is not None:
                return witness(sandbox, domain)
            if _absence_is_ours(sandbox):
                return Absent()
        return sight(
            sandbox,
            self._listings.latest(host.id),
            self._listings.previous(host.id),
            mutated_at=self._listings.mutated_at(sandbox.id),
            unreachable=unreachable,
        )


def _pause(step: Wait, standing: Standing) -> float | None:
    if step.code == "backing_off":
        return _left(standing.sandbox.retry_at, standing.now)
    return _PAUSES.get(step.code, _LOOK_AGAIN_SECONDS)


def _left(until: datetime | None, now: datetime) -> float:
    left = 0.0 if until is None else (until - now).total_seconds()
    return max(left, _SHORTEST_PAUSE_SECONDS)


def _rests(sandbox: Sandbox) -> bool:
    """Return whether its host's listings tell soon enough how it is."""
    under_way = sandbox.phase in (Phase.RESUME, Phase.IMAGE)
    under_way = under_way or sandbox.move_asked_at is not None
    return not under_way and (sandbox.desired_state, sandbox.state) in RESTING


def _absence_is_ours(sandbox: Sandbox) -> bool:
    """Return whether one answer NO_DOMAIN is enough: nothing was there yet, or we removed it."""
    removed = sandbox.desired_state is DesiredState.DESTROYED
    return removed or sandbox.state is SandboxState.CREATED or arriving(sandbox)


def _has_left(sandbox: Sandbox) -> bool:
    """Return whether its own host is proven empty, so that only others are waited for."""
    return any(condition.kind == ConditionKind.LEAVING for condition in sandbox.conditions)
