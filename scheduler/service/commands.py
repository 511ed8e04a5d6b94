"""Commands in guests: ask for one, follow it, end it. A row is committed before anything is run.

The row says what was asked for without its secrets; what a loop needs beside it waits in memory
(see `errands`). Output is read from memory while a command runs and from its row afterwards, and
both count the same bytes, so a reader goes on where it broke off.
"""

from __future__ import annotations

import json
import shlex
from base64 import b64decode
from binascii import Error as NotBase64
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from scheduler import ids
from scheduler.clock import Clock
from scheduler.errors import Conflict, Invalid, QuotaExceeded
from scheduler.guests.execution import Order
from scheduler.guests.inflows import Inflow
from scheduler.guests.outputs import Stream
from scheduler.guests.redaction import LEAST_SECRET_BYTES, redacted
from scheduler.guests.terminals import Terminal, Window
from scheduler.guests.wrapper import Invocation, check_invocation
from scheduler.model import Command, CommandExecRecord, CommandStatus, DesiredState, Event
from scheduler.model.commands import bytes_of
from scheduler.model.sandboxes import Sandbox, SandboxState
from scheduler.service.errands import Errand, Errands, LiveOutput, Mark
from scheduler.service.intents import Intent
from scheduler.service.journal import Journal
from scheduler.service.requests import RunCommand
from scheduler.service.sandboxes import by_reference
from scheduler.service.terms import Terms
from scheduler.store import ListOptions, Page, Store, Transaction

CHUNK_BYTES = 32 * 1024
SHOWN_CHARACTERS = 16 * 1024
"""What is kept of a command's own text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A piece of output; `mark` is where its reader has come by it."""

    stream: Stream
    offset: int
    data: bytes
    mark: Mark


Passage = Piece | Command | None
"""A piece of output; the command once it has ended, the last thing told; None: still there."""


class CommandService:
    """What callers do with commands; `wake` tells the loop that carries one out."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        terms: Terms,
        errands: Errands,
        *,
        journal: Journal,
        wake: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._terms = terms.commands
        self._errands = errands
        self._journal = journal
        self._wake = wake

    async def run(self, reference: str, request: RunCommand, intent: Intent[Command]) -> Command:
        """Record a command and have it run in the sandbox's guest.

        Raises `Conflict` unless the sandbox runs and has an address, `QuotaExceeded` where too
        many run already, `Invalid` for what no guest could be asked.
        """
        errand = self._errand(request)
        self._errands.put(errand)
        try:
            unit = partial(self._record, reference, request, errand, intent.actor)
            command = await self._store.submit(intent.once(unit))
        except BaseException:
            self._errands.drop(errand.order.id)
            raise
        self._committed(command.id)
        return command

    async def get(self, command_id: str) -> Command:
        """Return a command with its output; raises `NotFound`."""
        return await self._store.read(lambda tx: tx.commands.get(command_id))

    async def find(self, reference: str, options: ListOptions) -> Page[Command]:
        """Return a page of a sandbox's commands without their output, newest first."""

        def unit(tx: Transaction) -> Page[Command]:
            sandbox = by_reference(reference, tx)
            return tx.commands.find(sandbox.id, options, with_output=False)

        return await self._store.read(unit)

    async def wait(self, command_id: str, seconds: float) -> Command:
        """Return the command once it has ended, or when `seconds` are over."""
        return await self._journal.until(
            lambda: self.get(command_id), lambda command: not command.running, seconds
        )

    async def kill(self, command_id: str, intent: Intent[Command]) -> Command:
        """Have a command ended with all it started; one that has ended is answered as it is."""
        unit = partial(self._ask_kill, command_id, intent.actor)
        command = await self._store.submit(intent.once(unit))
        self._committed(command.id)
        return command

    async def feed(self, command_id: str, chunks: AsyncIterator[bytes], actor: str) -> Command:
        """Give a command the input that follows it, as fast as its guest takes it.

        Returns the command once all of it was given, or no more is read. Raises `Conflict` for a
        command that waits for none of this caller's, `Invalid` when there was too much of it.
        """
        command = await self.get(command_id)
        inflow = self._errands.inflow(command_id)
        typed = self._errands.terminal(command_id) is not None
        if inflow is None or typed or inflow.claimed or command.actor != actor:
            raise Conflict(
                f"command {command_id} waits for no input of yours",
                remedy="ask for one that does, with stdin_follows, and send its input once",
                details={"status": command.status.value},
            )
        inflow.claim(chunks)
        await inflow.over()
        if inflow.fault is not None:
            raise Invalid(
                f"command {command_id} was ended: {inflow.fault}",
                remedy="send less at once, or have commands.input_mb raised",
            )
        return await self.get(command_id)

    async def follow(
        self, command_id: str, mark: Mark, *, quiet_seconds: float
    ) -> AsyncGenerator[Passage, None]:
        """Yield what follows `mark`, piece by piece as it comes, then the command as it ended.

        None is yielded after `quiet_seconds` without output, so that whoever streams it can tell
        that the other end is still there.
        """
        while not self._journal.closed:
            live = self._errands.output(command_id)
            seen = await self._journal.latest()
            command = None if live is not None else await self.get(command_id)
            if command is not None and command.running:
                # A daemon before this one ran it; it is about to be ended.
                await self._journal.wait_beyond(seen, quiet_seconds)
                yield None
                continue
            pieces = _pieces(live or _Stored(command), mark)
            for piece in pieces:
                mark = piece.mark
                yield piece
            if live is None and not pieces:
                yield command
                return
            if live is not None and not pieces:
                await live.beyond(mark, self._clock, quiet_seconds)
                if not _pieces(live, mark):
                    yield None

    def _errand(self, request: RunCommand) -> Errand:
        secrets = _secrets_of(request)
        order = Order(
            id=ids.new_id(ids.Prefix.COMMAND),
            invocation=check_invocation(
                Invocation(
                    argv=tuple(request.argv or ("/bin/sh", "-s")),
                    env={**request.env, **request.secret_env},
                    work_dir=request.work_dir,
                    user=request.user,
                )
            ),
            stdin=_stdin_of(request),
            inflow=_inflow_of(request, self._terms.input_mb),
            terminal=_terminal_of(request),
            timeout_seconds=self._timeout_of(request),
        )
        return Errand(order=order, output=LiveOutput(self._terms.output_bytes, secrets))

    def _timeout_of(self, request: RunCommand) -> float:
        most = self._terms.max_timeout_seconds
        # Somebody sits at a terminal, and ends it when they have done.
        usual = self._terms.default_timeout_seconds if request.terminal is None else most
        wanted = request.timeout_seconds or min(usual, most)
        if wanted > most:
            raise Invalid(
                f"timeout_seconds: a command may take at most {most} s",
                remedy="ask for less, or have commands.max_timeout_seconds raised",
                details={"timeout_seconds": f"more than {most}"},
            )
        return float(wanted)

    def _record(
        self, reference: str, request: RunCommand, errand: Errand, actor: str, tx: Transaction
    ) -> Command:
        sandbox, order, now = by_reference(reference, tx), errand.order, self._clock.now()
        check_open(sandbox)
        self._check_room(tx, sandbox)
        command = Command(
            id=order.id,
            sandbox_id=sandbox.id,
            command=_text_of(request),
            env_json=json.dumps(sorted(order.invocation.env)),
            started_at=now,
            status=CommandStatus.RUNNING,
            actor=actor,
            metadata=CommandExecRecord(
                user=request.user,
                work_dir=request.work_dir,
                timeout=order.timeout_seconds,
                redacted=dict.fromkeys((f"env.{name}" for name in request.secret_env), "named"),
                terminal=request.terminal is not None,
            ),
        )
        tx.commands.add(command)
        tx.events.add(command_event("command.started", command, "requested", actor=actor, at=now))
        return command

    def _check_room(self, tx: Transaction, sandbox: Sandbox) -> None:
        places, terms = tx.commands.places(), self._terms
        of_sandbox = Counter(sandbox_id for sandbox_id, _ in places)[sandbox.id]
        of_host = Counter(host_id for _, host_id in places)[sandbox.host_id]
        for running, most, where in (
            (of_sandbox, terms.per_sandbox, "in this sandbox"),
            (of_host, terms.per_host, f"on host {sandbox.host_name}"),
            (len(places), terms.at_once, "on all hosts together"),
        ):
            if running >= most:
                raise QuotaExceeded(
                    f"{running} commands run {where}, and no more than {most} may",
                    remedy="wait until one has ended, or end one: sandboxctl command list",
                    details={"running": running, "limit": most, "retry_after": 5},
                )

    def _ask_kill(self, command_id: str, actor: str, tx: Transaction) -> Command:
        before = tx.commands.get(command_id)
        if not before.running or before.kill_requested_at is not None:
            return before
        now = self._clock.now()
        command = tx.commands.ask_kill(command_id, now)
        tx.events.add(
            command_event("command.kill_requested", command, "requested", actor=actor, at=now)
        )
        return command

    def _committed(self, command_id: str) -> None:
        self._journal.poke()
        self._wake(command_id)


class _Stored:
    """The output of a command that has ended."""

    def __init__(self, command: Command | None) -> None:
        self._output = {
            Stream.STDOUT: b"" if command is None else bytes_of(command.stdout),
            Stream.STDERR: b"" if command is None else bytes_of(command.stderr),
        }

    def kept(self, stream: Stream, offset: int = 0, most: int | None = None) -> bytes:
        end = None if most is None else offset + most
        return self._output[stream][offset:end]


def _pieces(output: LiveOutput | _Stored, mark: Mark) -> list[Piece]:
    """Return what there is after a mark, at most so much that a reader is not kept waiting."""
    pieces = []
    for stream in Stream:
        for _ in range(64):
            offset = mark.of(stream)
            data = output.kept(stream, offset, CHUNK_BYTES)
            if not data:
                break
            mark = mark.after(stream, len(data))
            pieces.append(Piece(stream=stream, offset=offset, data=data, mark=mark))
    return pieces


def check_open(sandbox: Sandbox) -> None:
    """Raise `Conflict` unless commands can be run in the sandbox's guest."""
    if sandbox.state is not SandboxState.RUNNING:
        remedy = {
            SandboxState.STOPPED: "start it: sandboxctl start",
            SandboxState.ERROR: "look at its reason, then retry it: sandboxctl retry",
            SandboxState.DESTROYED: "it is gone; its commands can still be read",
        }.get(sandbox.state, "wait until it is RUNNING: sandboxctl wait")
        raise Conflict(
            f"sandbox {sandbox.sandbox_name} is {sandbox.state}, and only a RUNNING one takes"
            " commands",
            remedy=remedy,
            details={"state": sandbox.state.value},
        )
    if sandbox.desired_state is not DesiredState.RUNNING:
        raise Conflict(
            f"sandbox {sandbox.sandbox_name} is about to be {sandbox.desired_state.lower()}",
            remedy="run it in another sandbox",
            details={"desired_state": sandbox.desired_state.value},
        )
    if sandbox.ip_address is None:
        raise Conflict(
            f"sandbox {sandbox.sandbox_name} has no address, so its guest cannot be reached",
            remedy="see why: sandboxctl show",
            details={"ip_address": None},
        )


def command_event(
    kind: str, command: Command, message: str, *, at: datetime, actor: str = "sandboxd"
) -> Event:
    """Return an event about a command; it says nothing of what was run."""
    return Event(
        at=at,
        kind=kind,
        actor=actor,
        sandbox_id=command.sandbox_id,
        reason_code=command.status.value.lower(),
        message=message,
        evidence={"command_id": command.id, "exit_code": command.exit_code},
    )


def _secrets_of(request: RunCommand) -> tuple[bytes, ...]:
    """Return what the caller wants taken out; raises `Invalid` for what is too short for that."""
    named = {f"secret_env.{name}": value for name, value in request.secret_env.items()}
    named |= {f"redact[{index}]": text for index, text in enumerate(request.redact)}
    short = {
        path: f"a secret of fewer than {LEAST_SECRET_BYTES} bytes is part of ordinary text"
        for path, text in named.items()
        if len(text.encode()) < LEAST_SECRET_BYTES
    }
    both = {
        f"secret_env.{name}": "it is in env too" for name in request.secret_env.keys() & request.env
    }
    if faults := {**short, **both}:
        raise Invalid(
            "; ".join(f"{path}: {fault}" for path, fault in faults.items()),
            remedy="give a longer secret, each name once",
            details=faults,
        )
    return tuple(text.encode() for text in named.values())


def _stdin_of(request: RunCommand) -> bytes:
    if request.script is not None:
        return request.script.encode()
    try:
        return b64decode(request.stdin_base64 or "", validate=True)
    except NotBase64:
        raise Invalid(
            "stdin_base64: it is not base64",
            remedy="encode the bytes as RFC 4648 says, padding included",
            details={"stdin_base64": "not base64"},
        ) from None


def _inflow_of(request: RunCommand, most_mb: int) -> Inflow | None:
    if request.terminal is not None:
        return Inflow(most_mb, broken="its terminal was closed")
    return Inflow(most_mb) if request.stdin_follows else None


def _terminal_of(request: RunCommand) -> Terminal | None:
    asked = request.terminal
    if asked is None:
        return None
    return Terminal(Window(columns=asked.columns, rows=asked.rows), asked.type)


def _text_of(request: RunCommand) -> str:
    """Return the command as people read it, without its secrets."""
    parts = [] if request.argv is None else [shlex.join(request.argv)]
    if request.script is not None:
        parts.append(request.script)
    text = redacted("\n".join(parts), _secrets_of(request))
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
