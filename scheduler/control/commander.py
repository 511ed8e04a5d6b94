"""Carries commands out: one item is one command, and none is ever begun twice.

What is to be run waits in memory for the row that was committed for it. A row without that is a
former daemon's: whatever it did in its guest is ended there, and the row says that it was
interrupted. Only what fails before a command's first byte has gone out is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from scheduler.clock import Clock
from scheduler.control.cancellations import until_asked
from scheduler.control.places import place_of
from scheduler.control.tally import Tally
from scheduler.errors import (
    Conflict,
    GuestError,
    GuestUntrusted,
    HostError,
    NotFound,
    SandboxdError,
    Unavailable,
)
from scheduler.guests.endings import end_processes
from scheduler.guests.execution import Ended, execute
from scheduler.guests.inflows import Inflow
from scheduler.guests.outputs import Stream
from scheduler.model import (
    Command,
    CommandExecRecord,
    CommandStatus,
    HostResources,
    Sandbox,
    SandboxState,
)
from scheduler.model.commands import text_of
from scheduler.service.commands import command_event
from scheduler.service.errands import Errand, Errands
from scheduler.store import Store, Transaction

PAUSES_SECONDS = (1.0, 4.0)
"""How long is waited before a guest is tried once more, when it could not be reached."""

INPUT_SECONDS = 30.0
"""How long a command waits for its input to begin, before anything is run."""

_NOT_RUN = "nothing was run: "
_DIED = "the daemon that ran it ended"
_LOST = "the connection to the guest broke while it ran"


class Guests(Protocol):
    """The way into guests; see `guests.connections`."""

    def connected(
        self, sandbox: Sandbox, host: HostResources, *, user: str = "root"
    ) -> AbstractAsyncContextManager[Any]:
        """Lend a connection to a sandbox's guest; raises `GuestError`."""
        ...


@dataclass(slots=True)
class _AtWork:
    """A command that is being carried out."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    nudged: asyncio.Event = field(default_factory=asyncio.Event)


class Commander:
    """Works on one command at a time; `Workers` sees to it that nobody else does."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        guests: Guests,
        errands: Errands,
        tally: Tally,
        told: Callable[[], None],
        pauses_seconds: Sequence[float] = PAUSES_SECONDS,
    ) -> None:
        self._store = store
        self._clock = clock
        self._guests = guests
        self._errands = errands
        self._tally = tally
        self._told = told
        self._pauses = pauses_seconds
        self._at_work: dict[str, _AtWork] = {}
        self._results: dict[str, Command] = {}
        self._stopping = asyncio.Event()

    async def carry_out(self, command_id: str) -> float | None:
        """Run a command to its end, or end what a former daemon left; None when it is over."""
        result = self._results.get(command_id)
        if result is None:
            try:
                command = await self._store.read(lambda tx: tx.commands.get(command_id))
            except NotFound:
                return None
            if not command.running:
                return None
            errand = self._errands.take(command_id)
            result = await (
                self._interrupted(command, _DIED)
                if errand is None
                else self._until_stopped(command, errand)
            )
            if result is None:
                return None
            # The store may refuse now; what became of the command is known all the same.
            self._results[command_id] = result
        await self._finish(result)
        return None

    def nudge(self, command_id: str) -> None:
        """Have a command that is being carried out looked at again: it may be to be ended."""
        at_work = self._at_work.get(command_id)
        if at_work is not None:
            at_work.nudged.set()

    async def pending(self) -> tuple[str, ...]:
        """Return the ids of the commands that have not ended."""
        return tuple(one.id for one in await self._store.read(lambda tx: tx.commands.running()))

    def stop(self) -> None:
        """Let go of what runs: the next daemon ends it, as it would after a crash."""
        self._stopping.set()

    async def _until_stopped(self, command: Command, errand: Errand) -> Command | None:
        """Return how a command ended, or None when the daemon ends first."""
        self._tally.commanded()
        at_work = self._at_work[command.id] = _AtWork()
        running = asyncio.ensure_future(self._run(command, errand, at_work))
        watching = asyncio.ensure_future(self._watch(command.id, at_work))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return running.result() if running.done() else None
        finally:
            for task in (running, watching, stopping):
                task.cancel()
            await asyncio.gather(running, watching, stopping, return_exceptions=True)
            del self._at_work[command.id]

    async def _watch(self, command_id: str, at_work: _AtWork) -> None:
        """Set `stop` once the row says that the command is to be ended."""

        async def asked() -> bool:
            command = await self._store.read(lambda tx: tx.commands.get(command_id))
            return command.kill_requested_at is not None

        await until_asked(asked, at_work.nudged, self._clock)
        at_work.stop.set()

    async def _run(self, command: Command, errand: Errand, at_work: _AtWork) -> Command:
        try:
            ended = await self._attempt(command, errand, at_work.stop)
        except SandboxdError as error:
            return self._of(
                command, errand, Ended(status=CommandStatus.INTERRUPTED), _NOT_RUN + error.message
            )
        reason = None
        if ended.status is CommandStatus.INTERRUPTED:
            confirmed = not ended.kill_unconfirmed or await self._end_remains(command)
            ended = replace(ended, kill_unconfirmed=not confirmed)
            reason = _told_of(ended.cause or _LOST, confirmed=confirmed)
        return self._of(command, errand, ended, reason)

    async def _attempt(self, command: Command, errand: Errand, stop: asyncio.Event) -> Ended:
        """Return how a command ended; raises what kept it from being begun."""
        pauses = iter(self._pauses)
        if errand.order.inflow is not None:
            await _awaited(errand.order.inflow, stop)
        while True:
            if stop.is_set():
                return Ended(status=CommandStatus.KILLED)
            try:
                sandbox, host = await self._store.read(partial(place_of, command.sandbox_id))
                async with self._guests.connected(sandbox, host) as connection:
                    return await execute(connection, errand.order, errand.output.take, stop=stop)
            except GuestUntrusted:
                raise
            except (GuestError, HostError):
                pause = next(pauses, None)
                if pause is None:
                    raise
                await self._clock.wait(stop, pause)

    async def _interrupted(self, command: Command, why: str) -> Command:
        """Return the end of a command that nobody follows any more, once its remains are ended."""
        confirmed = await self._end_remains(command)
        return replace(
            command,
            status=CommandStatus.INTERRUPTED,
            ended_at=self._clock.now(),
            reason=_told_of(why, confirmed=confirmed),
            kill_unconfirmed=not confirmed,
        )

    async def _end_remains(self, command: Command) -> bool:
        """End what may run of a command in its guest; return whether nothing does, for sure."""
        for pause in (*self._pauses, None):
            try:
                sandbox, host = await self._store.read(partial(place_of, command.sandbox_id))
                if sandbox.state in (SandboxState.STOPPED, SandboxState.DESTROYED):
                    return True
                async with self._guests.connected(sandbox, host) as connection:
                    return await end_processes(connection, command.id)
            except SandboxdError:
                if pause is not None:
                    await self._clock.wait(self._stopping, pause)
        return False

    def _of(self, command: Command, errand: Errand, ended: Ended, reason: str | None) -> Command:
        output = errand.output
        output.close()
        asked = command.metadata or CommandExecRecord()
        return replace(
            command,
            status=ended.status,
            exit_code=ended.exit_code,
            ended_at=self._clock.now(),
            stdout=text_of(output.kept(Stream.STDOUT)),
            stderr=text_of(output.kept(Stream.STDERR)),
            stdout_bytes=output.written_bytes(Stream.STDOUT),
            stderr_bytes=output.written_bytes(Stream.STDERR),
            truncated=output.truncated,
            metadata=replace(asked, redacted={**asked.redacted, **output.found()}),
            reason=reason,
            kill_unconfirmed=ended.kill_unconfirmed,
        )

    async def _finish(self, result: Command) -> None:
        with suppress(Conflict):  # it has ended already, as whoever said so first saw it
            await self._store.submit(partial(self._write, result))
        self._results.pop(result.id, None)
        if self._errands.output(result.id) is not None:
            self._tally.command_ended(result.status.value.lower(), _seconds(result))
        self._errands.drop(result.id)
        self._told()

    def _write(self, result: Command, tx: Transaction) -> None:
        ended = tx.commands.finish(result)
        message = result.reason or _MESSAGES[result.status].format(result.exit_code)
        tx.events.add(command_event("command.ended", ended, message, at=self._clock.now()))


_MESSAGES = {
    CommandStatus.EXITED: "it ended with exit code {0}",
    CommandStatus.TIMED_OUT: "its time was up",
    CommandStatus.KILLED: "its end was asked for",
    CommandStatus.INTERRUPTED: "nobody knows how it ended",
}


def _seconds(command: Command) -> float:
    ended_at = command.ended_at or command.started_at
    return max(0.0, (ended_at - command.started_at).total_seconds())


async def _awaited(inflow: Inflow, stop: asyncio.Event) -> None:
    """Wait for a command's input to begin; raises `Unavailable` when nobody sends it."""
    begun = asyncio.ensure_future(inflow.begun())
    stopped = asyncio.ensure_future(stop.wait())
    try:
        done, _ = await asyncio.wait(
            {begun, stopped}, timeout=INPUT_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        begun.cancel()
        stopped.cancel()
    if not done:
        raise Unavailable(f"nobody sent its input within {INPUT_SECONDS:g} s")


def _told_of(why: str, *, confirmed: bool) -> str:
    if confirmed:
        return f"{why}; nothing of it runs any more"
    return f"{why}; it may still run in the guest, which could not be looked at"
