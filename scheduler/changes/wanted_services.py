"""Which units of systemd are to be enabled and to run, as a delta tells of them.

An instance of a template is told only while it is enabled or runs, so one of which nothing is said
any more was disabled, unless its template may have gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from scheduler.changes.unit_files import (
    OWN_UNITS,
    is_of_many,
    own_files,
    own_files_of_instance,
    service_of,
)
from scheduler.model import Delta, EntryKind, FileChange, ServiceDifference, ServiceState, unit_type

_UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.@\\-]{0,255}")
_STOPPED_FIRST = frozenset(("service", "timer", "socket", "path"))
"""What stops without harm to others, as a mount or a target may not."""
_LEFT_RUNNING = re.compile(
    # The way by which the play came may end with these, and every login with those.
    r"(?:network(?:ing|d|-.*)?|NetworkManager.*|systemd-.*|dbus.*|ifup@.*|dhc.*|wpa_supplicant.*|wicked.*"
    r"|connman.*|netctl.*|netplan.*|ovs-.*|openvswitch.*|cloud-.*"
    r"|.*getty@.*|user@.*|user-runtime-dir@.*|display-manager|(?:g|k|lx|sd|x|light)dm3?|greetd"
    # systemd refuses to stop it.
    r"|auditd)(?:\.service)?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedService:
    """A unit as it is to be; None leaves that as it is."""

    name: str
    enabled: bool | None
    running: bool | None
    restarts: bool = False
    """Whether it is restarted where something of the change was new to the machine: it may run
    since before its configuration came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedServices:
    """What is to become of units."""

    present: tuple[WantedService, ...]
    ended: tuple[str, ...]
    """What is to be stopped before the files that it is made of go; timers and the like first."""
    reconfigured: tuple[str, ...]
    """Services of which only the files of their units changed: where they run they restart."""
    of_many: tuple[str, ...]
    """Files of units that changed, and of which nobody knows which services run with them."""


def wanted_services(delta: Delta) -> tuple[WantedServices, tuple[tuple[str, str], ...]]:
    """Return what is wished for units, and the names of the others with the reason."""
    wanted: list[WantedService] = []
    ended: list[str] = []
    faults: list[tuple[str, str]] = []
    gone = {one.path for one in delta.files if one.after is None}
    removed = {one.path for one in delta.files if one.after is None and one.package is None}
    for change in delta.services:
        after = _state(change, delta, gone)
        reason = _fault(change.name, after, delta, gone)
        if reason is None and after is None:
            reason = _fault_of_end(change.name, delta, removed)
            if reason is None:
                ended.append(change.name)
        if reason is not None:
            faults.append((change.name, reason))
        elif after is not None:
            wanted.append(
                WantedService(
                    name=change.name,
                    enabled=after.enabled,
                    running=after.active,
                    restarts=bool(after.active) and may_restart(change.name),
                )
            )
    wishes = WantedServices(
        present=tuple(wanted),
        ended=tuple(sorted(ended, key=lambda name: unit_type(name) == "service")),
        reconfigured=_reconfigured(delta),
        of_many=tuple(one.path for one in _unit_files(delta) if is_of_many(one.path)),
    )
    return wishes, tuple(faults)


def _reconfigured(delta: Delta) -> tuple[str, ...]:
    told = {one.name for one in delta.services}
    found = {service_of(one.path) for one in _unit_files(delta)}
    return tuple(sorted(name for name in found if name is not None and name not in told))


def _unit_files(delta: Delta) -> Iterator[FileChange]:
    if delta.service_manager == "systemd":
        yield from filter(_is_somebodys, delta.files)


def _is_somebodys(change: FileChange) -> bool:
    """Return whether what a file says changed, and no package did it; a link is another name."""
    sides = [one for one in (change.before, change.after) if one is not None]
    if change.package is not None or any(one.kind is EntryKind.SYMLINK for one in sides):
        return False
    return len({one.sha256 for one in sides}) > 1 or len(sides) == 1


def may_restart(name: str) -> bool:
    """Return whether a play can restart a unit without harm to itself or to who is logged in.

    Of other types than services none has to be: systemd reads timers and paths anew, does not let
    go of a socket whose service runs, and a mount would be taken from whoever uses it.
    """
    return unit_type(name) == "service" and not _is_left_running(name)


def _is_left_running(name: str) -> bool:
    return _LEFT_RUNNING.fullmatch(name) is not None


def _state(change: ServiceDifference, delta: Delta, gone: set[str]) -> ServiceState | None:
    """Return what a unit is to be, None when it is gone."""
    before, after = change.before, change.after
    if before is None or not before.enabled:
        return after
    if after is not None:
        # Diffs of earlier versions do not tell of the link that went, of what has no other way.
        unlinked = any(map(_link(change.name).fullmatch, gone))
        off = after.enabled is None and not unlinked and gone.isdisjoint(own_files(change.name))
        return replace(after, enabled=False) if off else after
    if "@" not in change.name:
        return None
    if any(one.after is None for one in delta.packages):
        return None
    if own_files_of_instance(change.name) & gone:
        return None
    return ServiceState(name=change.name, enabled=False, active=False)


def _fault(name: str, after: ServiceState | None, delta: Delta, gone: set[str]) -> str | None:
    if delta.service_manager != "systemd":
        return "its service manager is not known here"
    if not _UNIT.fullmatch(name):
        return "this is no name that systemd allows"
    if name.removesuffix(".service").endswith("@"):
        return "it is a template: only instances of it can be enabled and run"
    if after is None:
        return None
    if after.enabled is None and after.active is None:
        return "whether it is enabled or runs is not known"
    if after.enabled is None and own_files(name) & gone:
        return "its file is gone: it runs until somebody stops it"
    return None


def _fault_of_end(name: str, delta: Delta, removed: set[str]) -> str | None:
    """Return why a unit that is gone is not stopped by the code; None where it is."""
    if (own_files(name) | own_files_of_instance(name)) & removed:
        if unit_type(name) not in _STOPPED_FIRST:
            return "it is gone with its file: where it is active it stays until somebody stops it"
        if _is_left_running(name):
            return "it is gone with its file, and never stopped: the play could lose its way"
        return None
    if any(one.after is None for one in delta.packages):
        return "it is gone: that follows from the packages that go"
    return "it is gone, and nothing that the code does would stop it where it runs"


def _link(unit: str) -> re.Pattern[str]:
    typed = unit_type(unit) != "service" or unit.endswith(".service")
    file = re.escape(unit if typed else f"{unit}.service")
    return re.compile(rf"{OWN_UNITS}[^/]+\.(?:wants|requires)/{file}")
