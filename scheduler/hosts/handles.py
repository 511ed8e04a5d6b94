"""One open libvirt connection: made in full or not at all, and really closed.

Closing in libvirt only drops a reference, and drops it under the feet of calls in flight. So a
connection that is given up is closed by nobody until its last call has returned.
"""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import libvirt

from scheduler import interpreter
from scheduler.hosts.abilities import Abilities
from scheduler.hosts.events import let_event_pass
from scheduler.hosts.identity import Identity, identify
from scheduler.hosts.lanes import CALLS_AT_ONCE
from scheduler.hosts.routes import endpoint_of, socket_of

PREFLIGHT_SECONDS = 3.0
KEEPALIVE_SECONDS = 5
KEEPALIVE_COUNT = 3
EVENT_SECONDS = 3.0
"""How long libvirt's thread may be at an event before what it holds is told as a leak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Who wants hints; both are called in libvirt's own thread."""

    domain_changed: Callable[[str], None]
    """Called with a domain's UUID."""
    closed: Callable[[], None]


class Handle:
    """An open connection, its host's identity and the slots of its calls.

    One call at a time, but where calls never leave the process; see `connection`.
    """

    def __init__(self, conn: libvirt.virConnect, identity: Identity, abilities: Abilities) -> None:
        self.conn = conn
        self.identity = identity
        self.abilities = abilities
        self._at_once = CALLS_AT_ONCE if abilities.state_dies_with_connection else 1
        self.slots = asyncio.Semaphore(self._at_once)
        self.calls = 0
        """How many are in flight or wait for their turn."""
        self.retired = False
        self.consoles: dict[str, libvirt.virStream] = {}
        """Those that are listened to over it, by their domain's UUID; only calls touch them."""
        self._callbacks: list[int] = []
        self._close_callback = False

    @property
    def closeable(self) -> bool:
        """Return whether it is given up and its last call has returned."""
        return self.retired and self.calls == 0

    @property
    def has_room(self) -> bool:
        """Return whether one more call would not have to wait."""
        return self.calls < self._at_once

    def listen(self, listener: Listener) -> None:
        """Have the listener told of changes, where the driver tells any."""

        def changed(_conn: object, domain: libvirt.virDomain, *_rest: object) -> None:
            listener.domain_changed(domain.UUIDString())

        def closed(*_what: object) -> None:
            listener.closed()

        self._callbacks.append(
            self.conn.domainEventRegisterAny(
                None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, changed, None
            )
        )
        if self.abilities.keepalive:
            self.conn.registerCloseCallback(closed, None)
            self._close_callback = True

    def close(self) -> int:
        """Close for real and return the references left, which is 0 unless something leaked."""
        for callback in self._callbacks:
            with suppress(libvirt.libvirtError):
                self.conn.domainEventDeregisterAny(callback)
        if self._close_callback:
            with suppress(libvirt.libvirtError):
                self.conn.unregisterCloseCallback()
        if self._callbacks:
            let_event_pass(EVENT_SECONDS)  # it holds the connection, and would look like a leak
        self._callbacks, self._close_callback = [], False
        self.consoles.clear()  # each holds the connection; its end ends them on the host
        with suppress(libvirt.libvirtError):
            return int(self.conn.close())
        return 0


def open_handle(
    uri: str,
    abilities: Abilities,
    listener: Listener | None,
    *,
    dial: Callable[[str], libvirt.virConnect] = libvirt.open,
) -> Handle:
    """Dial, keep alive, identify and listen; blocking, and closed when a part of it fails."""
    _preflight(uri)
    with interpreter.anywhere():  # libvirt starts threads for a connection, and ssh
        conn = dial(uri)
    try:
        if abilities.keepalive:
            conn.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_COUNT)
        handle = Handle(conn, identify(conn, abilities, uri), abilities)
    except BaseException:
        conn.close()
        raise
    if listener is not None:
        try:
            handle.listen(listener)
        except BaseException:
            handle.close()
            raise
    return handle


def _preflight(uri: str) -> None:
    """Fail fast where nobody listens; libvirt's own dialling knows no time limit."""
    endpoint = endpoint_of(uri)
    if endpoint is not None:
        socket.create_connection(endpoint, PREFLIGHT_SECONDS).close()
        return
    path = socket_of(uri)
    if path is None or not stat.S_ISSOCK(Path(path).stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PREFLIGHT_SECONDS)
        probe.connect(path)
