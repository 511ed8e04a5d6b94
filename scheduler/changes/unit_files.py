"""Files from which systemd makes units, and which services they are of.

systemd reads them when it is told to, and a service that runs keeps what it was started with.
"""

from __future__ import annotations

import re

from scheduler.model import unit_type

OWN_UNITS = "/etc/systemd/system/"
_PLACES = (OWN_UNITS, *(f"{one}/lib/systemd/system/" for one in ("/usr/local", "/usr", "")))
_SCRIPTS = "/etc/init.d/"
_READ_BY_GENERATORS = frozenset(("/etc/crypttab", "/etc/fstab"))
_OF_A_SERVICE = re.compile(
    rf"(?:{'|'.join(_PLACES)})([A-Za-z0-9_][A-Za-z0-9:_.@\\-]{{0,255}})\.service(?:\.d(?:/.*)?)?"
)
_OF_MANY = re.compile(
    rf"(?:{'|'.join(_PLACES)})(?:[^/]*[@-]\.service(?:\.d(?:/.*)?)?|service\.d(?:/.*)?)", re.DOTALL
)


def is_unit_file(path: str) -> bool:
    """Return whether systemd has to be told that this path has changed."""
    return path.startswith((*_PLACES, _SCRIPTS)) or path in _READ_BY_GENERATORS


def service_of(path: str) -> str | None:
    """Return the service that a path is the unit file, or a drop-in, of.

    Templates and drop-ins of many (`foo-.service.d`) are of none: which runs is not known.
    """
    match = _OF_A_SERVICE.fullmatch(path)
    return None if match is None or match[1].endswith(("@", "-")) else match[1]


def is_of_many(path: str) -> bool:
    """Return whether a path is a template of services, or a drop-in of more than one."""
    return _OF_MANY.fullmatch(path) is not None


def own_files(unit: str) -> frozenset[str]:
    """Return where somebody's own file for a unit, by its name in manifests, may be."""
    typed = unit_type(unit) != "service" or unit.endswith(".service")
    file = unit if typed else f"{unit}.service"
    places = {f"{place}{file}" for place in _PLACES}
    return frozenset(places if typed else {*places, _SCRIPTS + unit})


def own_files_of_instance(unit: str) -> frozenset[str]:
    """Return where the template of an instance may be; of any other unit, nowhere."""
    if "@" not in unit:
        return frozenset()
    kind = unit_type(unit)
    return own_files(unit.partition("@")[0] + ("@" if kind == "service" else f"@.{kind}"))
