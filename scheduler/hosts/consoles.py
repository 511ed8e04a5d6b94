"""Consoles of our domains: opened without force, read without waiting, let go of in one hop.

A stream that waits for nothing costs no thread: libvirt's own loop takes in what a guest prints,
and each call reads what came. The open ones belong to their connection, and go with it.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import Any

import libvirt

from scheduler.errors import HostRefused
from scheduler.hosts.domains import find_ours
from scheduler.hosts.handles import Handle
from scheduler.hosts.marks import Keyring
from scheduler.model.observations import Heard, Listening

MOST_BYTES = 1 << 20
"""A guest that prints more between two calls is let go of: libvirt's client would keep it all."""
_PIECE_BYTES = 1 << 16
_NOTHING_YET = -2
_OFF = Heard(listening=Listening.OFF)
_UNSUPPORTED = Heard(
    listening=Listening.UNSUPPORTED, why="the host's libvirt driver has no consoles"
)
_FLOODED = f"the guest printed more than {MOST_BYTES >> 20} MiB faster than it could be listened to"


def listen(handle: Handle, uuids: Collection[str], keyring: Keyring) -> dict[str, Heard]:
    """Return what our domains printed, opening what is not open; others' consoles are let go of.

    Only a lost connection raises: whatever else is wrong with one console is said of that one.
    """
    if not handle.abilities.streams:
        return dict.fromkeys(uuids, _UNSUPPORTED)
    heard = {uuid: _let_go(handle, uuid) for uuid in set(handle.consoles) - set(uuids)}
    for uuid in uuids:
        opened = uuid not in handle.consoles
        refused = _open(handle, uuid, keyring) if opened else None
        heard[uuid] = refused or _read(handle, uuid, opened=opened)
    return heard


def _open(handle: Handle, uuid: str, keyring: Keyring) -> Heard | None:
    """Open a domain's console; return why not where that cannot be."""
    try:
        domain = find_ours(handle, uuid, keyring)
        if domain is None or not domain.isActive():
            return _OFF
        stream = handle.conn.newStream(libvirt.VIR_STREAM_NONBLOCK)
        try:
            domain.openConsole(None, stream, libvirt.VIR_DOMAIN_CONSOLE_SAFE)
        except libvirt.libvirtError:
            if not domain.isActive() or _is_starting(domain):
                return _OFF
            raise
    except HostRefused as error:
        return Heard(listening=Listening.REFUSED, why=error.message)
    except libvirt.libvirtError as error:
        if not handle.conn.isAlive():
            raise
        if error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:
            return _UNSUPPORTED
        return Heard(listening=Listening.REFUSED, why=_said(error))
    handle.consoles[uuid] = stream
    return None


def _is_starting(domain: libvirt.virDomain) -> bool:
    """Return whether QEMU is being started: it may have no terminal yet, and the guest waits."""
    starting = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP)
    return tuple(domain.state()) == starting


def _read(handle: Handle, uuid: str, *, opened: bool) -> Heard:
    """Read what has come; a console that has ended, or floods us, is let go of."""
    stream, data, piece = handle.consoles[uuid], bytearray(), b"-"
    try:
        while piece and len(data) <= MOST_BYTES:
            received: Any = stream.recv(_PIECE_BYTES)
            if received == _NOTHING_YET:
                return Heard(listening=Listening.OPEN, data=bytes(data), opened=opened)
            piece = received
            data += piece
    except libvirt.libvirtError as error:
        why: str | None = _said(error)
        if not handle.conn.isAlive():
            raise
    else:
        why = _FLOODED if piece else None
    _close(handle, uuid)
    listening = Listening.OFF if why is None else Listening.REFUSED
    return Heard(listening=listening, data=bytes(data), opened=opened, why=why)


def _let_go(handle: Handle, uuid: str) -> Heard:
    heard = _read(handle, uuid, opened=False)
    if uuid in handle.consoles:
        _close(handle, uuid)
    return heard


def _close(handle: Handle, uuid: str) -> None:
    """Give a console back to its host; one that has ended there has been given back already."""
    stream = handle.consoles.pop(uuid)
    with suppress(libvirt.libvirtError):
        stream.abort()


def _said(error: libvirt.libvirtError) -> str:
    return " ".join((error.get_error_message() or str(error)).split())
