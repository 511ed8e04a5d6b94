"""From a guest's answers to a manifest: paths as text, owners by name, files and their packages."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from scheduler.guests.inventory_attributes import access_lists, capabilities
from scheduler.guests.inventory_reader import Listing, Stat, shown
from scheduler.guests.inventory_tables import (
    Packages,
    accounts,
    apk,
    automatic_alternatives,
    dpkg,
    rpm,
    services,
    system,
)
from scheduler.model import (
    FILE_ATTRIBUTES,
    UNIT_TYPES,
    EntryKind,
    Manifest,
    ManifestEntry,
    Omission,
)

_INSTANCE = re.compile(
    rb"/etc/systemd/system/[^/]+\.(?:wants|requires)/([^/]+@[^/]+\.(?:%s))"
    % "|".join(UNIT_TYPES).encode(),
    re.DOTALL,
)
"""What links an instance of a template to what starts it."""
_ALTERNATIVES = b"/etc/alternatives/"
CACHES = (b".cache", b"__pycache__")
_KINDS: Mapping[int, EntryKind] = {
    stat.S_IFREG: EntryKind.FILE,
    stat.S_IFDIR: EntryKind.DIRECTORY,
    stat.S_IFLNK: EntryKind.SYMLINK,
}
_TOLD_BY: Mapping[str, str] = {
    "files": "/usr/bin/systemctl",
    "units": "/usr/bin/systemctl",
    "dpkg": "/usr/bin/dpkg",
    "rpm": "/usr/bin/rpm",
    "apk": "/sbin/apk",
    "capabilities": "/usr/sbin/getcap",
    "acl": "/usr/bin/getfacl",
}
"""Where an omission stands of what is no path. (dpkg's own table is read, but no rule hides this
one's path as noise.)"""


@dataclass(slots=True)
class Draft:
    """A manifest in the making: what was listed, and the digests as they come in."""

    listing: Listing
    packages: Packages
    digests: dict[bytes, str] = field(default_factory=dict)
    sums: dict[bytes, str] = field(default_factory=dict)
    names: dict[str, bytes] = field(default_factory=dict)
    """The names in the guest of files by their path as text, where the text is the name."""

    def files(self) -> Mapping[bytes, int]:
        """Return the regular files and their sizes, ordered by name."""
        stats = self.listing.stats
        return {name: stats[name].size for name in sorted(stats) if stat.S_ISREG(stats[name].mode)}

    def path(self, name: bytes) -> str:
        """Return a name as the manifest writes it."""
        return shown(name)[0]

    def manifest(self, taken_at: datetime, roots: tuple[str, ...]) -> Manifest:
        """Return the manifest of what is known by now."""
        sections = self.listing.sections
        entries = sorted(self._entries(), key=lambda one: (one.path, one.literal))
        managers = [one for one in ("dpkg", "rpm", "apk") if one in sections]
        systemd = "files" in sections and "units" in sections
        return Manifest(
            taken_at=taken_at,
            roots=tuple(sorted(roots)),
            entries=tuple(entries),
            packages=self.packages.installed,
            package_manager=managers[0] if managers else None,
            services=(
                services(sections["files"], sections["units"], self._instances()) if systemd else ()
            ),
            service_manager="systemd" if systemd else None,
            unit_types=UNIT_TYPES,
            chosen_alternatives=self._chosen_alternatives(),
            attributes=tuple(one for one in FILE_ATTRIBUTES if self._tells(one)),
            omissions=(*self._untold(), *self._not_entered(roots)),
            system=system(sections.get("system", b"")),
        )

    def _entries(self) -> Iterator[ManifestEntry]:
        owners = accounts(self.listing.sections.get("passwd", b""))
        groups = accounts(self.listing.sections.get("group", b""))
        able = capabilities(self._attributes("capabilities"), self.listing.stats)
        open_to = access_lists(self._attributes("acl"), self.listing.stats)
        for name, one in self.listing.stats.items():
            path, literal = shown(name)
            kind = _KINDS.get(stat.S_IFMT(one.mode), EntryKind.OTHER)
            target = self.listing.targets.get(name) if kind is EntryKind.SYMLINK else None
            regular = kind is EntryKind.FILE
            yield ManifestEntry(
                path=path,
                literal=literal,
                kind=kind,
                size=one.size if regular else 0,
                mode=stat.S_IMODE(one.mode),
                uid=one.uid,
                gid=one.gid,
                owner=owners.get(one.uid),
                group=groups.get(one.gid),
                sha256=self.digests.get(name) if regular else None,
                target=None if target is None else shown(target)[0],
                package=self.packages.owners.get(name),
                pristine=self._pristine(name) if regular else None,
                capabilities=able.get(name) if regular else None,
                acl=open_to.get(name),
            )
            if regular and literal:
                self.names[path] = name

    def _tells(self, section: str) -> bool:
        """Return whether a program was there for all roots, and answered for each."""
        return section in self.listing.sections and section not in self.listing.untold

    def _attributes(self, section: str) -> bytes:
        return self.listing.sections[section] if self._tells(section) else b""

    def _pristine(self, name: bytes) -> bool | None:
        brought, holds = self.packages.sums.get(name), self.sums.get(name)
        return None if brought is None or holds is None else brought == holds

    def _instances(self) -> Iterator[str]:
        """Yield the instances of templates that are enabled."""
        for name in sorted(self.listing.targets):
            if match := _INSTANCE.fullmatch(name):
                yield match[1].decode("utf-8", "surrogateescape")

    def _chosen_alternatives(self) -> tuple[str, ...] | None:
        """Return the alternatives' links but those that the package manager chooses by itself."""
        told = self.listing.sections.get("alternatives")
        if told is None:
            return None
        automatic = automatic_alternatives(told)
        return tuple(
            self.path(name)
            for name in sorted(self.listing.targets)
            if name.startswith(_ALTERNATIVES) and name.removeprefix(_ALTERNATIVES) not in automatic
        )

    def _untold(self) -> Iterator[Omission]:
        """Yield the programs of the guest that were asked, and failed."""
        for program in sorted({_TOLD_BY[one] for one in self.listing.untold if one in _TOLD_BY}):
            yield Omission(path=program, reason="it was asked in the guest, and failed")

    def _not_entered(self, roots: tuple[str, ...]) -> Iterator[Omission]:
        """Yield where other file systems are mounted, and the caches."""
        stats = self.listing.stats
        devices = {root: self._device(root.encode()) for root in roots}
        for name, one in stats.items():
            if not stat.S_ISDIR(one.mode):
                continue
            if name.rpartition(b"/")[2] in CACHES:
                yield Omission(path=self.path(name), reason="caches are not looked at")
            elif self._is_mounted(name, one, devices):
                reason = "another file system is mounted here"
                yield Omission(path=self.path(name), reason=reason)

    def _device(self, root: bytes) -> int | None:
        """Return the device of what is below a root."""
        found = self.listing.stats.get(root)
        return self.listing.linked.get(root, None if found is None else found.device)

    @staticmethod
    def _is_mounted(name: bytes, one: Stat, devices: Mapping[str, int | None]) -> bool:
        above = (root for root in devices if name.startswith(root.rstrip("/").encode() + b"/"))
        found = devices.get(max(above, key=len, default=""))
        return found is not None and found != one.device


def drafted(listing: Listing) -> Draft:
    """Return the draft of a listing, before any file was read."""
    sections = listing.sections
    packages = Packages()
    if "dpkg" in sections:
        owned, sums = sections.get("owned", b""), sections.get("sums", b"")
        packages = dpkg(sections["dpkg"], owned, sums)
    elif "rpm" in sections:
        packages = rpm(sections["rpm"])
    elif "apk" in sections:
        packages = apk(sections["apk"])
    return Draft(listing=listing, packages=packages)
