"""libvirt's own event loop in a thread of its own, which keepalive and events need.

libvirt allows one loop a process, registered before the first connection and never replaced; so
this is the one place with something global. Events are hints: nobody is told what happened, only
that the host is worth another look.
"""

from __future__ import annotations

import functools
import threading

import libvirt


@functools.cache
def start_event_loop() -> threading.Thread:
    """Start libvirt's event loop once and for ever, and keep its errors off standard error."""
    libvirt.registerErrorHandler(_silence, None)
    libvirt.virEventRegisterDefaultImpl()
    thread = threading.Thread(target=_run, name="libvirt-events", daemon=True)
    thread.start()
    return thread


def let_event_pass(seconds: float) -> None:
    """Wait, for so long at most, until libvirt's thread holds nothing of the event that it tells.

    Nobody that an event is told may wait for it so.
    """
    past = threading.Event()

    def passed(timer: int, _nothing: object) -> None:
        libvirt.virEventRemoveTimeout(timer)
        past.set()

    libvirt.virEventAddTimeout(0, passed, None)
    past.wait(seconds)


def _silence(_context: object, _error: object) -> None:
    """Say nothing: every error is raised as an exception as well."""


def _run() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
