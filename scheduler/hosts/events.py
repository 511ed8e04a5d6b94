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


def _silence(_context: object, _error: object) -> None:
    """Say nothing: every error is raised as an exception as well."""


def _run() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
