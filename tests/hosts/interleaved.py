"""A real libvirt connection on which a test may act between two calls of the code under test.

Nothing is imitated: a hook is given the real method and decides what happens around it, so that a
domain really goes away between the listing and the look, or a twin really is faster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import libvirt

from scheduler.hosts.abilities import Abilities
from scheduler.hosts.handles import Handle

Hook = Callable[..., object]
"""Called with the real bound method and the call's arguments; returns the call's result."""

_WRAPPED = (
    libvirt.virConnect,
    libvirt.virDomain,
    libvirt.virStoragePool,
    libvirt.virStorageVol,
)


class Interleaved:
    """A libvirt object whose methods named in `hooks` go through them."""

    def __init__(self, real: object, hooks: Mapping[str, Hook]) -> None:
        self._real = real
        self._hooks = hooks

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)
        return partial(self._call, name, method)

    def _call(self, name: str, method: Callable[..., object], *arguments: object) -> object:
        hook = self._hooks.get(name)
        result = method(*arguments) if hook is None else hook(method, *arguments)
        return self._wrap(result)

    def _wrap(self, result: object) -> object:
        if isinstance(result, _WRAPPED):
            return Interleaved(result, self._hooks)
        if isinstance(result, list):
            return [self._wrap(item) for item in result]
        if isinstance(result, tuple):
            return tuple(self._wrap(item) for item in result)
        return result


def interleaved(
    handle: Handle, hooks: Mapping[str, Hook], *, abilities: Abilities | None = None
) -> Handle:
    """Return the handle with hooks on its connection, perhaps pretending to other abilities."""
    conn = Interleaved(handle.conn, hooks)
    return Handle(conn, handle.identity, abilities or handle.abilities)


def libvirt_error(domain: int, code: int, message: str = "told so") -> libvirt.libvirtError:
    """Return an error as libvirt would raise it, with this origin and code."""
    error = libvirt.libvirtError(message)
    error.err = (code, domain, message, 2, None, None, None, -1, -1)
    return error


def raising(error: Exception) -> Hook:
    """Return a hook that raises instead of calling."""

    def hook(_method: object, *_arguments: object) -> object:
        raise error

    return hook


def after(act: Callable[[], object]) -> Hook:
    """Return a hook that acts, once, before it calls."""
    done: list[object] = []

    def hook(method: Callable[..., object], *arguments: object) -> object:
        if not done:
            done.append(act())
        return method(*arguments)

    return hook
