"""A host's connections for one purpose: dialled when needed, kept, replaced when lost.

Dialling is one at a time and backs off, so that a host that is down costs one attempt now and
then and not one for every call. Calls at the same time get connections of their own: libvirt's
client, when keepalive ends a connection under two calls, leaves the second one waiting for ever
and then crashes the process (seen with 9.0). A connection whose call hangs is replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import libvirt
import structlog

from scheduler.clock import Clock
from scheduler.errors import HostError, HostTimeout, HostUnreachable, IdentityChanged
from scheduler.hosts import abilities as able
from scheduler.hosts.calls import CallsOf
from scheduler.hosts.dead_peers import break_when_dead
from scheduler.hosts.deadlines import DEADLINE_SECONDS, Verb
from scheduler.hosts.events import start_event_loop
from scheduler.hosts.failures import let_go, translate
from scheduler.hosts.handles import Handle, Listener, open_handle
from scheduler.hosts.identity import Identity
from scheduler.hosts.lanes import CALLS_AT_ONCE, CallNotBegun, Lane, Spent, Terms
from scheduler.hosts.routes import Route, endpoint_of, is_tls

T = TypeVar("T")

TLS_REMEDY = (
    "check that both certificates are signed by the other side's CA, in date, and that the host's"
    " names its address; virt-pki-validate on either machine tells"
)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long to wait before dialling again: doubling from the first to the last."""

    first_seconds: float = 0.5
    last_seconds: float = 8.0

    def after(self, failures: int) -> float:
        """Return the wait in seconds after this many failures in a row."""
        return min(self.last_seconds, self.first_seconds * 2.0 ** min(failures - 1, 16))


class _FoundLost(HostUnreachable):
    """The connection was lost before the call, which was therefore not begun."""


class Connection:
    """A way to call a host, over few connections; belongs to the event loop's thread."""

    def __init__(
        self,
        *,
        host: str,
        route: Route,
        lane: Lane,
        calls: CallsOf,
        clock: Clock,
        listener: Listener | None = None,
        backoff: Backoff | None = None,
        deadlines: Mapping[Verb, float] = DEADLINE_SECONDS,
        at_once: int = CALLS_AT_ONCE,
    ) -> None:
        self._host = host
        self._route = route
        self._lane = lane
        self._calls = calls
        self._clock = clock
        self._listener = listener
        self._backoff = backoff or Backoff()
        self._deadlines = deadlines
        self._dialling = asyncio.Lock()
        self._at_once = at_once
        self._handles: list[Handle] = []
        self._given_up = 0
        """So many were lost, or hang, and nothing has taken their place yet."""
        self._failures = 0
        self._last_failure: HostError | None = None
        self._dial_after = 0.0
        self._expected_uuid: str | None = None
        self._closings: set[asyncio.Task[None]] = set()
        self._closed = False

    def expect(self, host_uuid: str | None) -> None:
        """Accept only this host from now on; None accepts whoever answers."""
        self._expected_uuid = host_uuid
        for handle in tuple(self._handles):
            if self._stranger(handle.identity):
                self._give_up(handle)

    async def call(
        self,
        verb: Verb,
        function: Callable[[Handle], T],
        *,
        subject: str | None = None,
    ) -> T:
        """Run `function` with the open connection in a thread, in time or with an error.

        `subject` is what the call is about, see `Terms`. Raises the HostError family only:
        libvirt's own errors are translated here.
        """
        with self._calls.counted(verb) as spent:
            try:
                return await self._call_once(verb, function, subject, spent)
            except _FoundLost:  # while nobody called; the call was not begun, so it may be anew
                return await self._call_once(verb, function, subject, spent)

    async def _call_once(
        self, verb: Verb, function: Callable[[Handle], T], subject: str | None, spent: Spent
    ) -> T:
        handle = await self._least_used()
        handle.calls += 1
        terms = Terms(
            doing=verb.value,
            deadline_seconds=self._deadlines[verb],
            slots=handle.slots,
            subject=subject,
            spent=spent,
        )
        try:
            return await self._lane.call(
                partial(self._guarded, function, handle, verb.value),
                terms,
                ended=partial(self._ended, handle),
            )
        except CallNotBegun:
            raise
        except HostUnreachable:
            self._give_up(handle)
            raise

    async def aclose(self) -> None:
        """Close for good; waits, within a bound, for what is being closed."""
        self._closed = True
        for handle in self._handles:
            self._retire(handle)
        self._handles.clear()
        if self._closings:
            await asyncio.wait(self._closings, timeout=self._deadlines[Verb.CLOSE])

    def _guarded(self, function: Callable[[Handle], T], handle: Handle, doing: str) -> T:
        if handle.retired or not _alive(handle.conn):
            raise _FoundLost(f"host {self._host} was lost before it was asked to {doing}")
        try:
            return function(handle)
        except libvirt.libvirtError as error:
            raise translate(
                error, host=self._host, doing=doing, alive=_alive(handle.conn)
            ) from error
        except HostError as error:
            let_go(error)
            raise

    @property
    def is_open(self) -> bool:
        """Return whether there is a connection that nobody has to dial."""
        return bool(self._handles)

    async def open(self) -> Handle:
        """Return an open connection, dialling when there is none; for reading its identity."""
        return self._handles[0] if self._handles else await self._least_used()

    async def _least_used(self) -> Handle:
        """Return the least used connection, having dialled one more where that is due."""
        if self._closed:
            raise HostUnreachable(f"host {self._host} is no longer talked to")
        if (handle := self._sufficient()) is not None:
            return handle
        async with self._dialling:
            if (handle := self._sufficient()) is None:
                handle = await self._dial()
                self._handles.append(handle)
            return handle

    def _sufficient(self) -> Handle | None:
        """Return the least used connection, None when there should be one more."""
        least = min(self._handles, key=_calls, default=None)
        if least is None or least.has_room or len(self._handles) >= self._at_once:
            return least
        return None

    async def _dial(self) -> Handle:
        self._wait_after_failure()
        try:
            with self._calls.counted(Verb.OPEN) as spent:
                handle = await self._dial_now(spent)
        except HostError as error:
            self._failures += 1
            self._last_failure = error
            self._dial_after = self._clock.monotonic() + self._backoff.after(self._failures)
            raise
        self._failures, self._last_failure = 0, None
        if self._given_up:
            self._given_up -= 1
            self._calls.reconnected()
        return handle

    def _wait_after_failure(self) -> None:
        """Fail at once with the last failure until it is time to dial again."""
        last, left = self._last_failure, self._dial_after - self._clock.monotonic()
        if last is not None and left > 0:
            raise type(last)(
                f"{last.message} (dialled again in {left:.1f} s)",
                remedy=last.remedy,
                details=last.details,
            )

    async def _dial_now(self, spent: Spent) -> Handle:
        start_event_loop()
        uri = await self._route.uri()
        abilities = able.of_uri(uri)
        terms = Terms(
            doing=Verb.OPEN.value, deadline_seconds=self._deadlines[Verb.OPEN], spent=spent
        )
        try:
            handle = await self._lane.call(
                partial(self._open_in_thread, uri, abilities), terms, late=Handle.close
            )
        except HostTimeout:
            if (endpoint := endpoint_of(uri)) is not None:
                break_when_dead(endpoint[1])
            raise
        if self._stranger(handle.identity):
            self._retire(handle)
            raise IdentityChanged(
                f"host {self._host} is another machine than before: its UUID is"
                f" {handle.identity.host_uuid} instead of {self._expected_uuid}",
                remedy="if it was replaced on purpose, accept its new identity",
                details={
                    "expected": self._expected_uuid,
                    "found": handle.identity.host_uuid,
                },
            )
        return handle

    def _open_in_thread(self, uri: str, abilities: able.Abilities) -> Handle:
        """Dial; even listening is a call to the host, and the way there may be our own loop."""
        try:
            return open_handle(uri, abilities, self._listener)
        except libvirt.libvirtError as error:
            raise translate(
                error,
                host=self._host,
                doing=Verb.OPEN.value,
                alive=False,
                remedy=TLS_REMEDY if is_tls(uri) else None,
            ) from error
        except OSError as error:
            raise HostUnreachable(
                f"host {self._host} could not be reached: {error}",
                remedy="check that libvirtd runs there and listens on this socket or port",
            ) from error

    def _stranger(self, identity: Identity) -> bool:
        return self._expected_uuid not in (None, identity.host_uuid)

    def _ended(self, handle: Handle) -> None:
        handle.calls -= 1
        if handle.closeable:
            self._close(handle)

    def _give_up(self, handle: Handle) -> None:
        """Have later calls dial anew; a state that lives with the connection is never given up."""
        if handle.abilities.state_dies_with_connection:
            return
        if handle in self._handles:
            self._handles.remove(handle)
            self._given_up += 1
        self._retire(handle)

    def _retire(self, handle: Handle) -> None:
        if handle.retired:
            return
        handle.retired = True
        if handle.closeable:
            self._close(handle)

    def _close(self, handle: Handle) -> None:
        task = asyncio.create_task(self._close_soon(handle), name="close-connection")
        self._closings.add(task)
        task.add_done_callback(self._closings.discard)

    async def _close_soon(self, handle: Handle) -> None:
        closed = self._lane.detach(handle.close)
        await asyncio.wait({closed}, timeout=self._deadlines[Verb.CLOSE])
        if not closed.done():
            _log.warning("host.connection.close_hangs", host=self._host)
        elif left := closed.result():
            _log.error("host.connection.leaked", host=self._host, references=left)


def _calls(handle: Handle) -> int:
    return handle.calls


def _alive(conn: libvirt.virConnect) -> bool:
    try:
        return bool(conn.isAlive())
    except libvirt.libvirtError:
        return False
