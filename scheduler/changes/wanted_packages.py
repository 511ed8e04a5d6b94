"""Which packages are to come and to go, as a delta tells of them.

A package is removed by its name, and rpm keeps several versions of some beside each other: where
others stay, or may stay, by its name all of them would go.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from scheduler.model import RPM_KEY, Delta, PackageChange

_PACKAGE = {
    "dpkg": re.compile(r"[a-z0-9][a-z0-9+.-]{1,127}(:[a-z0-9-]{1,32})?"),
    "rpm": re.compile(r"[A-Za-z0-9_][A-Za-z0-9+._-]{0,127}"),
}
_VERSION = {
    "dpkg": re.compile(r"([0-9]{1,9}:)?[0-9A-Za-z][0-9A-Za-z.+~-]{0,127}"),
    "rpm": re.compile(r"([0-9]{1,9}:)?[0-9A-Za-z][0-9A-Za-z.+~^_-]{0,127}"),
}
_KEPT_BESIDE = re.compile(
    r"kernel(-(rt|64k|uek|PAE|debug|longterm|core|modules|extra|internal|partner|matched|devel|uki"
    r"|virt|addons))*|kmod-.+"
)
"""Of what rpm keeps several versions. Diffs of earlier versions do not tell whether others stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPackage:
    """A package in one version."""

    name: str
    version: str
    replaces: bool = False
    """Another version was there before."""
    beside: bool = False
    """Further versions of it are there after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPackages:
    """What is to become of packages."""

    absent: tuple[str, ...]
    purged: tuple[str, ...]
    """What is to go with its configuration, which dpkg keeps otherwise."""
    present: tuple[WantedPackage, ...]


def wanted_packages(delta: Delta) -> tuple[WantedPackages, tuple[tuple[str, str], ...]]:
    """Return the packages that are wished for, and the names of the others with the reason."""
    gone: list[str] = []
    present: list[WantedPackage] = []
    faults: list[tuple[str, str]] = []
    coming = Counter(one.name for one in delta.packages if one.after is not None)
    for change in delta.packages:
        reason = _fault(change, delta.package_manager)
        if reason is not None:
            faults.append((change.name, reason))
            continue
        several = coming[change.name] > 0 or (
            delta.package_manager == "rpm" and _KEPT_BESIDE.fullmatch(change.name) is not None
        )
        reason = _fault_of_removal(change, several=several)
        if reason is not None:
            faults.append((change.name, reason))
        elif change.after is None:
            gone.append(change.name)
        if change.after is not None:
            present.append(
                WantedPackage(
                    name=change.name,
                    version=change.after,
                    replaces=change.before is not None,
                    beside=change.others or coming[change.name] > 1,
                )
            )
    purged = _purged(delta)
    wanted = WantedPackages(
        absent=tuple(one for one in gone if one not in purged),
        purged=tuple(one for one in gone if one in purged),
        present=tuple(present),
    )
    return wanted, tuple(faults)


def _fault(change: PackageChange, manager: str | None) -> str | None:
    if manager == "apk":
        return "add or remove it with apk: neither Ansible's own modules nor Puppet's know apk"
    if manager not in _PACKAGE:
        return "its package manager is not known here"
    if manager == "rpm" and change.name == RPM_KEY:
        return "it is a key that rpm trusts, and no package"
    if not _PACKAGE[manager].fullmatch(change.name):
        return f"this is no name that {manager} allows"
    if change.after is not None and not _VERSION[manager].fullmatch(change.after):
        return f"its version is none that {manager} allows"
    return None


def _fault_of_removal(change: PackageChange, *, several: bool) -> str | None:
    """Return why a version that went cannot be removed by the package's name."""
    if change.before is None:
        return None
    if change.others:
        return f"version {change.before} went and others stay: by its name all would go"
    if change.after is None and several:
        return f"version {change.before} went and others may stay: by its name all would go"
    return None


def _purged(delta: Delta) -> frozenset[str]:
    """Return the packages of which a configuration file went that nobody had changed.

    dpkg keeps such files of a package that is removed, and takes them when it is purged.
    """
    if delta.package_manager != "dpkg":
        return frozenset()
    return frozenset(
        one.package
        for one in delta.files
        if one.package is not None
        and one.after is None
        and one.before is not None
        and one.before.pristine
        and one.path.startswith("/etc/")
    )
