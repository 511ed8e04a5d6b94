"""Which units of systemd are to be enabled and to run, as a delta tells of them.

An instance of a template is told only while it is enabled or runs, so one of which nothing is said
any more was disabled, unless its template may have gone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from scheduler.model import Delta, ServiceDifference, ServiceState, unit_type

_UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.@\\-]{0,255}")
_OWN_UNITS = "/etc/systemd/system/"
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


def wanted_services(
    delta: Delta,
) -> tuple[tuple[WantedService, ...], tuple[tuple[str, str], ...]]:
    """Return the units that are wished for, and the names of the others with the reason."""
    wanted: list[WantedService] = []
    faults: list[tuple[str, str]] = []
    gone = {one.path for one in delta.files if one.after is None}
    for change in delta.services:
        after = _state(change, delta, gone)
        reason = _fault(change.name, after, delta.service_manager, gone)
        if reason is not None:
            faults.append((change.name, reason))
        else:
            assert after is not None
            wanted.append(
                WantedService(
                    name=change.name,
                    enabled=after.enabled,
                    running=after.active,
                    restarts=bool(after.active) and may_restart(change.name),
                )
            )
    return tuple(wanted), tuple(faults)


def may_restart(name: str) -> bool:
    """Return whether a play can restart a unit without harm to itself or to who is logged in.

    Of other types than services none has to be: systemd reads timers and paths anew, does not let
    go of a socket whose service runs, and a mount would be taken from whoever uses it.
    """
    return unit_type(name) == "service" and not _LEFT_RUNNING.fullmatch(name)


def _state(change: ServiceDifference, delta: Delta, gone: set[str]) -> ServiceState | None:
    """Return what a unit is to be, None when it is gone."""
    before, after = change.before, change.after
    if before is None or not before.enabled:
        return after
    if after is not None:
        # Diffs of earlier versions do not tell of the link that went, of what has no other way.
        unlinked = any(map(_link(change.name).fullmatch, gone))
        off = after.enabled is None and not unlinked and _file(change.name) not in gone
        return replace(after, enabled=False) if off else after
    if "@" not in change.name:
        return None
    if _template(change.name) in gone or any(one.after is None for one in delta.packages):
        return None
    return ServiceState(name=change.name, enabled=False, active=False)


def _fault(
    name: str, after: ServiceState | None, manager: str | None, gone: set[str]
) -> str | None:
    if manager != "systemd":
        return "its service manager is not known here"
    if not _UNIT.fullmatch(name):
        return "this is no name that systemd allows"
    if name.removesuffix(".service").endswith("@"):
        return "it is a template: only instances of it can be enabled and run"
    if after is None:
        return "it is gone: that follows from the packages and files that go"
    if after.enabled is None and after.active is None:
        return "whether it is enabled or runs is not known"
    if after.enabled is None and _file(name) in gone:
        return "its file is gone: it runs until somebody stops it"
    return None


def _link(unit: str) -> re.Pattern[str]:
    file = re.escape(_file(unit).removeprefix(_OWN_UNITS))
    return re.compile(rf"{_OWN_UNITS}[^/]+\.(?:wants|requires)/{file}")


def _template(instance: str) -> str:
    kind = unit_type(instance)
    return _file(instance.partition("@")[0] + ("@" if kind == "service" else f"@.{kind}"))


def _file(unit: str) -> str:
    """Return where somebody's own file for a unit would be."""
    typed = unit_type(unit) != "service" or unit.endswith(".service")
    return _OWN_UNITS + unit + ("" if typed else ".service")
