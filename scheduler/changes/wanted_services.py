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


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedService:
    """A unit as it is to be; None leaves that as it is."""

    name: str
    enabled: bool | None
    running: bool | None


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
            name, enabled = change.name, after.enabled
            wanted.append(WantedService(name=name, enabled=enabled, running=after.active))
    return tuple(wanted), tuple(faults)


def _state(change: ServiceDifference, delta: Delta, gone: set[str]) -> ServiceState | None:
    """Return what a unit is to be, None when it is gone."""
    before, after = change.before, change.after
    if before is None or not before.enabled or "@" not in change.name:
        return after
    if after is not None:
        return replace(after, enabled=False) if after.enabled is None else after
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


def _template(instance: str) -> str:
    kind = unit_type(instance)
    return _file(instance.partition("@")[0] + ("@" if kind == "service" else f"@.{kind}"))


def _file(unit: str) -> str:
    """Return where somebody's own file for a unit would be."""
    typed = unit_type(unit) != "service" or unit.endswith(".service")
    return _OWN_UNITS + unit + ("" if typed else ".service")
