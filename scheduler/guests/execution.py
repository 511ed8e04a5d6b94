"""Running one command in a guest over a connection that stands: once, bounded, and ended for sure.

Only what fails before the command's first byte has gone out is an error, and may be tried again.
From then on there is an `Ended` whatever happens, and a lost connection means that nobody knows.
Output is handed on as it comes, on the event loop, and that is what slows a flooding guest down.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from asyncssh import SSHClientConnection

from scheduler.guests.endings import end_processes
from scheduler.guests.inflows import Inflow
from scheduler.guests.outputs import OUTPUT_BYTES, Bounded, Stream
from scheduler.guests.sessions import Session, Take, open_session
from scheduler.guests.terminals import Terminal
from scheduler.guests.wrapper import Invocation, check_invocation, command_line, line_of
from scheduler.ids import Prefix, new_id
from scheduler.model.commands import CommandStatus
from scheduler.signs_of_life import bounded

TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended; `exit_code` is null unless it ended by itself.

    `kill_unconfirmed`: it was to be ended, and nothing proves that all of it has.
    """

    status: CommandStatus
    exit_code: int | None = None
    kill_unconfirmed: bool = False
    cause: str | None = None
    """Why it was interrupted, when it was not for a lost connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What `run` returns: how the command ended and the beginning of what it wrote."""

    ended: Ended
    stdout: bytes
    stderr: bytes
    stdout_bytes: int
    stderr_bytes: int

    @property
    def ok(self) -> bool:
        """Return whether it ended by itself and with success."""
        return self.ended.status is CommandStatus.EXITED and self.ended.exit_code == 0

    @property
    def truncated(self) -> bool:
        """Return whether it wrote more than was kept."""
        return self.stdout_bytes > len(self.stdout) or self.stderr_bytes > len(self.stderr)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One command to run, under an id that its processes in the guest are marked with."""

    id: str
    invocation: Invocation
    stdin: bytes = b""
    inflow: Inflow | None = None
    """What follows `stdin`, if anything does."""
    terminal: Terminal | None = None
    """What it runs on, if that is to be a terminal; what is typed there is its inflow."""
    timeout_seconds: float = TIMEOUT_SECONDS


async def run(  # what most callers in this house want
    connection: SSHClientConnection,
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    work_dir: str | None = None,
    user: str | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    output_bytes: int = OUTPUT_BYTES,
) -> Result:
    """Run a program and return what became of it; raises as `execute` does.

    A script goes to an interpreter's standard input: `run(connection, ["/bin/sh", "-s"], stdin=…)`.
    """
    kept = {stream: Bounded(output_bytes) for stream in Stream}
    order = Order(
        id=new_id(Prefix.COMMAND),
        invocation=Invocation(argv=tuple(argv), env=env or {}, work_dir=work_dir, user=user),
        stdin=stdin,
        timeout_seconds=timeout_seconds,
    )
    ended = await execute(connection, order, lambda stream, data: kept[stream].take(data))
    return Result(
        ended=ended,
        stdout=kept[Stream.STDOUT].kept,
        stderr=kept[Stream.STDERR].kept,
        stdout_bytes=kept[Stream.STDOUT].total_bytes,
        stderr_bytes=kept[Stream.STDERR].total_bytes,
    )


async def execute(
    connection: SSHClientConnection,
    order: Order,
    take: Take,
    *,
    stop: asyncio.Event | None = None,
) -> Ended:
    """Run a command until it ends, its time is up or `stop` is set; output goes to `take`.

    Raises Invalid for what no guest could be asked, GuestUnreachable when nothing was started.
    Cancelled, it lets go of the command, which may run on: `end_processes` ends it.
    """
    invocation = check_invocation(order.invocation)
    login, terminal = str(connection.get_extra_info("username", "")), order.terminal
    line = command_line(order.id)
    session = await open_session(connection, line, _shown(take, terminal), terminal=terminal)
    try:
        line_in = line_of(invocation, login=login, terminal=terminal is not None)
        session.write(line_in + order.stdin)
        if terminal is not None:
            terminal.open(session)
        async with _fed(session, order.inflow) as broken:
            status = await _wait(session, order.timeout_seconds, stop or asyncio.Event(), broken)
        if terminal is not None:
            terminal.finish()
        confirmed = status is CommandStatus.EXITED or await end_processes(connection, order.id)
        await session.close()
    finally:
        session.abandon()
    return _ended(session, order, status, confirmed=confirmed)


def _shown(take: Take, terminal: Terminal | None) -> Take:
    """Return what takes output, and shows it where there is a terminal."""
    if terminal is None:
        return take

    def both(stream: Stream, data: bytes) -> None:
        take(stream, data)
        terminal.show(data)

    return both


@asynccontextmanager
async def _fed(session: Session, inflow: Inflow | None) -> AsyncIterator[asyncio.Event]:
    """Pass on what input still comes; yields what is set when it breaks off."""
    broken = asyncio.Event()
    if inflow is None:
        session.write_eof()
        yield broken
        return
    feeding = asyncio.ensure_future(_feed(session, inflow, broken))
    try:
        yield broken
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


async def _feed(session: Session, inflow: Inflow, broken: asyncio.Event) -> None:
    try:
        async for piece in inflow.pieces():
            session.write(piece)
            await session.drained()
        if inflow.fault is None:
            session.write_eof()
        else:
            broken.set()
    finally:
        inflow.end()


async def _wait(
    session: Session, seconds: float, stop: asyncio.Event, broken: asyncio.Event
) -> CommandStatus:
    """Return why the waiting is over; EXITED also when the connection is."""
    ended = asyncio.ensure_future(session.ended())
    stopped = asyncio.ensure_future(stop.wait())
    cut = asyncio.ensure_future(broken.wait())
    try:
        with bounded(seconds):
            done, _ = await asyncio.wait(
                {ended, stopped, cut}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
    finally:
        for waiting in (ended, stopped, cut):
            waiting.cancel()
    if ended in done:
        return CommandStatus.EXITED
    if cut in done:
        return CommandStatus.INTERRUPTED
    return CommandStatus.KILLED if stopped in done else CommandStatus.TIMED_OUT


def _ended(session: Session, order: Order, status: CommandStatus, *, confirmed: bool) -> Ended:
    if status is CommandStatus.INTERRUPTED and order.inflow is not None:
        return Ended(status=status, kill_unconfirmed=not confirmed, cause=order.inflow.fault)
    if status is not CommandStatus.EXITED:
        return Ended(status=status, kill_unconfirmed=not confirmed)
    if session.exit_code is None:
        return Ended(status=CommandStatus.INTERRUPTED, kill_unconfirmed=True)
    return Ended(status=status, exit_code=session.exit_code)
