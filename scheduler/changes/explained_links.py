"""Links that say again what systemd and the package manager were asked, and told more exactly.

A link is left out only where what was told says that it came or went, so whatever nobody told is a
link as any other: of a unit of another type, of a service that a second target wants, of an
alternative that somebody chose.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from functools import cached_property

from scheduler.model import EntryKind, FileChange, Manifest, unit_name, unit_type

_WANTS = re.compile(r"(/etc/systemd/system/[^/]+\.(wants|requires))(?:/([^/]+))?", re.DOTALL)
_RUN_LEVEL = re.compile(r"(/etc/rc[^/]\.d/[SK])[0-9]{2}([^/]+)", re.DOTALL)
_ALTERNATIVE = re.compile(r"/etc/alternatives/[^/]+", re.DOTALL)
_OWN_UNITS, _SCRIPTS = "/etc/systemd/system/", "/etc/init.d/"
_LOOKED_AT = (_OWN_UNITS, _SCRIPTS, "/etc/rc")

Path = tuple[str, bool]
"""A path, and whether its text is its name."""


def explained_links(
    before: Manifest, after: Manifest, changes: Iterable[FileChange], *, packages_differ: bool
) -> Mapping[Path, str]:
    """Return the changed paths that what was told explains, each with the pattern it counts under.

    Where nobody told which alternatives were chosen, they may change when packages do.
    """
    links = _Links(before, after, packages_differ=packages_differ)
    found: dict[Path, str] = {}
    directories: dict[str, tuple[Path, str]] = {}
    telling: dict[str, set[bool]] = {}
    for change in changes:
        path = change.path, change.literal
        if wants := _WANTS.match(change.path):
            pattern = f"/etc/systemd/system/*.{wants[2]}/**"
            if change.path == wants[1] and _came_or_went(change):
                directories[wants[1]] = path, pattern
                continue
            explained = change.path == wants[0] and links.of_unit(change, wants[3] or "")
            telling.setdefault(wants[1], set()).add(explained)
        elif level := _RUN_LEVEL.fullmatch(change.path):
            pattern, explained = "/etc/rc?.d/**", links.of_run_level(change, level)
        elif _ALTERNATIVE.fullmatch(change.path):
            pattern, explained = "/etc/alternatives/**", links.of_alternative(change)
        else:
            continue
        if explained:
            found[path] = pattern
    # systemctl makes and removes the directories of its links; one with anything else is told.
    found |= {
        path: pattern
        for name, (path, pattern) in directories.items()
        if telling.get(name) == {True}
    }
    return found


class _Links:
    """What two manifests tell of links."""

    def __init__(self, before: Manifest, after: Manifest, *, packages_differ: bool) -> None:
        self._sides = before, after
        self._systemd = before.service_manager == after.service_manager == "systemd"
        self._types = {*before.unit_types} & {*after.unit_types} if self._systemd else set()
        self._packaged = before.package_manager == after.package_manager is not None
        self._packages_differ = packages_differ
        self._enabled = tuple(
            {one.name: one.enabled for one in side.services} for side in self._sides
        )

    def of_unit(self, change: FileChange, unit: str) -> bool:
        """Return whether it is told that a unit was enabled or disabled, as this link says."""
        name = unit_name(unit)
        if unit_type(name) not in self._types or not _is_link(change):
            return False
        if not _came_or_went(change):
            # systemd goes by a link's name and not by where it points.
            return True
        was, now = (side.get(name) for side in self._enabled)
        if change.before is None:
            return now is True and was is not True
        if was is not True or now is not None:
            return was is True and now is False
        if "@" in name:
            # An instance that no link enables is told only while it runs.
            return True
        # It went with its package; what somebody wrote and removed leaves its link to be removed.
        return name not in self._enabled[1] and _OWN_UNITS + unit not in self._paths[0]

    def of_run_level(self, change: FileChange, level: re.Match[str]) -> bool:
        """Return whether a service came, went, was enabled, disabled, or has another number."""
        if not (self._systemd and _is_link(change) and _came_or_went(change)):
            return False
        other = self._run_levels[0 if change.before is None else 1]
        script = _SCRIPTS + level[2]
        was, now = (side.get(level[2]) is True for side in self._enabled)
        return (
            (level[1], level[2]) in other
            or (script in self._paths[0]) != (script in self._paths[1])
            or was != now
        )

    def of_alternative(self, change: FileChange) -> bool:
        """Return whether the package manager chose by itself, before and after."""
        if not (self._packaged and _is_link(change)):
            return False
        chosen = [side.chosen_alternatives for side in self._sides]
        if None in chosen:
            return self._packages_differ
        return not any(change.path in (paths or ()) for paths in chosen)

    @cached_property
    def _paths(self) -> tuple[Set[str], ...]:
        return tuple(
            frozenset(one.path for one in side.entries if one.path.startswith(_LOOKED_AT))
            for side in self._sides
        )

    @cached_property
    def _run_levels(self) -> tuple[Set[tuple[str, str]], ...]:
        found = (map(_RUN_LEVEL.fullmatch, paths) for paths in self._paths)
        return tuple(frozenset((one[1], one[2]) for one in side if one) for side in found)


def _is_link(change: FileChange) -> bool:
    sides = change.before, change.after
    return all(one is None or one.kind is EntryKind.SYMLINK for one in sides)


def _came_or_went(change: FileChange) -> bool:
    return change.before is None or change.after is None
