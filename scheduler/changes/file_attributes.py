"""Capabilities and access lists of files: what differs, and what only one side could tell.

A guest tells them where it has the program that can, so that two manifests are compared in those
that both tell; of any other one that is there it is said that nobody knows what it was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from scheduler.model import FILE_ATTRIBUTES, Manifest, ManifestEntry, Omission

WORDS = {"capabilities": "capabilities", "acl": "access list"}


def differing(before: ManifestEntry | None, after: ManifestEntry | None) -> tuple[str, ...]:
    """Return which attributes differ; where there is no file there are none."""
    return tuple(
        name
        for name in FILE_ATTRIBUTES
        if getattr(before, name, None) != getattr(after, name, None)
    )


class Attributes:
    """What of two manifests' attributes can be compared."""

    def __init__(self, before: Manifest, after: Manifest) -> None:
        self._sides = before, after
        told = {*before.attributes} ^ {*after.attributes}
        self._alone = [name for name in FILE_ATTRIBUTES if name in told]

    def comparable(self, entry: ManifestEntry) -> ManifestEntry:
        """Return an entry that is on both sides, with what both tell."""
        if entry.capabilities is None and entry.acl is None:
            return entry
        return replace(
            entry,
            capabilities=None if "capabilities" in self._alone else entry.capabilities,
            acl=None if "acl" in self._alone else entry.acl,
        )

    def unknown(self) -> Iterator[Omission]:
        """Yield the files on both sides that have what only one of them tells."""
        for side, other in (self._sides, self._sides[::-1]):
            alone = [name for name in self._alone if name in side.attributes]
            having = [one for one in side.entries if any(getattr(one, name) for name in alone)]
            there = _paths(other) if having else ()
            for one in having:
                if (one.path, one.literal) in there:
                    told = " and ".join(WORDS[name] for name in alone if getattr(one, name))
                    reason = f"its {told} were told by one manifest only"
                    yield Omission(path=one.path, reason=reason)


def _paths(manifest: Manifest) -> Collection[tuple[str, bool]]:
    return {(one.path, one.literal) for one in manifest.entries}
