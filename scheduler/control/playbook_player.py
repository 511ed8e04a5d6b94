"""Plays runs of playbooks: one item is one run, and on no sandbox is it ever begun twice.

PLAYING is written before anything is begun. Whoever finds it so without having begun it knows that
a former daemon did, and tells that. How a play ended is kept until the store has it, and what
happens to one play costs no other: each is a program in the middle of somebody's machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, TypeVar

import structlog

from scheduler.clock import Clock
from scheduler.control.cancellations import until_asked
from scheduler.control.parking import Parking
from scheduler.control.places import place_of
from scheduler.control.tally import Tally
from scheduler.errors import NotFound, ReadOnly, SandboxdError, Unavailable
from scheduler.guests.playbook_players import PlayEnd, PlayOrder
from scheduler.model import (
    HostResources,
    PlaybookRun,
    PlayStatus,
    Sandbox,
    SandboxPlay,
    SandboxState,
)
from scheduler.service.playbook_runs import run_event, with_play
from scheduler.store import Store, Transaction

AT_ONCE = 4
"""Plays in progress, of all runs together: each is a program that keeps a core busy."""

_DIED = "the daemon ended while it was played; nobody knows how far it came"
_BROKE = "a bug in sandboxd cut it short; nobody knows how far it came"

_Key = tuple[str, str]
"""A run's id and a sandbox's."""

T = TypeVar("T")

_log = structlog.get_logger("scheduler.control")


class Player(Protocol):
    """Who plays; see `guests.playbook_players`."""

    async def play(self, order: PlayOrder, sandbox: Sandbox, host: HostResources, /) -> PlayEnd:
        """Play on a guest; raises `SandboxdError` when it cannot be begun."""
        ...


@dataclass(slots=True)
class _AtWork:
    """A run that is being played."""

    nudged: asyncio.Event = field(default_factory=asyncio.Event)
    """Somebody asked for something: for its end, or for the same run again."""
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)


class PlaybookRunner:
    """Works on one run at a time; `Workers` sees to it that nobody else does."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        player: Player,
        tally: Tally,
        told: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._player = player
        self._tally = tally
        self._told = told
        self._in_progress = 0
        self._playing = asyncio.Semaphore(AT_ONCE)
        self._at_work: dict[str, _AtWork] = {}
        self._results: dict[_Key, SandboxPlay] = {}
        """How plays ended of which that is not written yet."""

    async def pending(self) -> tuple[str, ...]:
        """Return the ids of the runs that have not ended."""
        found = await self._store.read(lambda tx: tx.playbook_runs.unfinished())
        return tuple(one.id for one in found)

    def look_again(self, run_id: str) -> None:
        """Have a run that is being played looked at again: perhaps it was cancelled."""
        if run_id in self._at_work:
            self._at_work[run_id].nudged.set()

    async def play(self, run_id: str) -> float | None:
        """Play a run to its end; None when it is over."""
        try:
            run = await self._store.read(lambda tx: tx.playbook_runs.get(run_id))
        except NotFound:
            return None
        at_work = self._at_work[run_id] = _AtWork()
        watching = asyncio.create_task(self._watch(run_id, at_work))
        plays = [self._one(run, play, at_work) for play in run.plays if not play.over]
        try:
            ended = await asyncio.gather(*plays, return_exceptions=True)
        finally:
            del self._at_work[run_id]
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        faults = [fault for fault in ended if fault is not None]
        if faults:
            # A bug is told of, a refusal is only tried again.
            raise min(faults, key=lambda fault: isinstance(fault, SandboxdError))
        return None

    async def _watch(self, run_id: str, at_work: _AtWork) -> None:
        """Tell the plays of a run once its end is asked for."""

        async def asked() -> bool:
            run = await self._store.read(lambda tx: tx.playbook_runs.get(run_id))
            return run.cancel_requested_at is not None

        await until_asked(asked, at_work.nudged, self._clock)
        at_work.cancelled.set()

    async def _one(self, run: PlaybookRun, play: SandboxPlay, at_work: _AtWork) -> None:
        """Play on one sandbox, and write how that ended; only the latter if it is known already."""
        key = (run.id, play.sandbox_id)
        if key not in self._results:
            over = await self._played(run, play, at_work)
            if over is None:
                return
            # The store may refuse now; what became of the play is known all the same.
            self._results[key] = over
        await self._become(run.id, self._results[key], PlayStatus.PLAYING)
        del self._results[key]

    async def _played(
        self, run: PlaybookRun, play: SandboxPlay, at_work: _AtWork
    ) -> SandboxPlay | None:
        """Return how a play ended; None when it is not to be begun any more."""
        if play.status is PlayStatus.PLAYING:
            return replace(play, status=PlayStatus.INTERRUPTED, reason=_DIED)
        async with self._playing:
            place = await self._begun(run, play)
            if place is None:
                return None
            with self._counted():
                try:
                    ended = await self._ended(run, place, at_work)
                except Exception:
                    broken = replace(play, status=PlayStatus.INTERRUPTED, reason=_BROKE)
                    self._results[run.id, play.sandbox_id] = broken
                    raise
        return replace(
            play,
            status=ended.status,
            recap=ended.recap,
            reason=ended.reason,
            log=ended.log,
        )

    async def _begun(
        self, run: PlaybookRun, play: SandboxPlay
    ) -> tuple[Sandbox, HostResources] | None:
        """Write that it is played now, if it still is to be and its sandbox is there."""
        try:
            place = await self._answered(
                lambda: self._store.read(partial(place_of, play.sandbox_id))
            )
        except NotFound as error:
            await self._not_begun(run, play, f"{error.message}: nothing was played")
            return None
        sandbox, _ = place
        if sandbox.state is not SandboxState.RUNNING or sandbox.ip_address is None:
            why = f"sandbox {sandbox.sandbox_name} is {sandbox.state}: nothing was played"
            await self._not_begun(run, play, why)
            return None
        playing = replace(play, status=PlayStatus.PLAYING)
        written = await self._become(run.id, playing, PlayStatus.WAITING)
        return place if written else None

    async def _not_begun(self, run: PlaybookRun, play: SandboxPlay, why: str) -> None:
        gone = replace(play, status=PlayStatus.UNREACHABLE, reason=why)
        await self._become(run.id, gone, PlayStatus.WAITING)

    async def _ended(
        self, run: PlaybookRun, place: tuple[Sandbox, HostResources], at_work: _AtWork
    ) -> PlayEnd:
        order = PlayOrder(yaml=run.yaml, check=run.check, limit_seconds=run.timeout_seconds)
        playing = asyncio.ensure_future(self._player.play(order, *place))
        stopping = asyncio.ensure_future(at_work.cancelled.wait())
        try:
            await asyncio.wait({playing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if playing.done():
                return playing.result()
            why = "its end was asked for; what its last task began in the guest may go on"
            return PlayEnd(status=PlayStatus.CANCELLED, recap=None, reason=why, log="")
        except SandboxdError as error:
            return PlayEnd(status=PlayStatus.UNREACHABLE, recap=None, reason=error.message, log="")
        finally:
            for task in (playing, stopping):
                task.cancel()
            await asyncio.gather(playing, stopping, return_exceptions=True)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Tell how many plays are in progress."""
        self._in_progress += 1
        self._tally.playing(self._in_progress)
        try:
            yield
        finally:
            self._in_progress -= 1
            self._tally.playing(self._in_progress)

    async def _answered(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Return what the store says, however often it refuses first: what plays goes on."""
        pauses, nobody = Parking(), asyncio.Event()
        while True:
            try:
                return await ask()
            except (ReadOnly, Unavailable) as error:
                pause = pauses.failed("store")
                _log.warning("deferred", loop="play playbook", code=error.code, error=error.message)
            await self._clock.wait(nobody, pause)

    async def _become(self, run_id: str, play: SandboxPlay, before: PlayStatus) -> bool:
        """Write what became of a play; False when it is not what it was any more."""
        written = await self._answered(
            lambda: self._store.submit(partial(self._write, run_id, play, before))
        )
        self._told()
        if written and play.over:
            self._tally.played(play.status.value.lower())
        return written

    def _write(self, run_id: str, play: SandboxPlay, before: PlayStatus, tx: Transaction) -> bool:
        run, now = tx.playbook_runs.get(run_id), self._clock.now()
        there = run.play_of(play.sandbox_id).status
        if there is not before:
            # Nobody else writes these: a commit of ours was done although its answer was lost.
            return there is play.status
        if play.over:
            play = replace(play, ended_at=now, started_at=run.play_of(play.sandbox_id).started_at)
        else:
            play = replace(play, started_at=now)
        after = tx.playbook_runs.replace(with_play(run, play, now))
        tx.events.add(run_event("play_ended" if play.over else "play_begun", after, play, at=now))
        if after.ended_at is not None:
            tx.events.add(run_event("ended", after, at=now))
        return True
