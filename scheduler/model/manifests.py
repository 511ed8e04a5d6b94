"""What a guest holds at one moment, and what became different between two such moments.

A manifest is compared, never executed: it names files by path, size, mode, owner and digest, and
says itself what it could not look at, so that "no difference" is never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

RPM_KEY = "gpg-pubkey"
"""As what rpm lists the keys that it trusts, which no repository could give."""
UNIT_TYPES = ("service", "timer", "socket", "path", "mount", "automount", "swap", "target")
"""The types of systemd's units that somebody enables, and that guests are asked for."""

FILE_ATTRIBUTES = ("capabilities", "acl")
"""What an entry may have beside owner and mode, by the name of its field."""


def unit_type(name: str) -> str:
    """Return of which type a unit is, by the name that manifests give it."""
    base, _, ending = name.rpartition(".")
    return ending if base and ending in UNIT_TYPES else "service"


def unit_name(unit: str) -> str:
    """Return the name that manifests give a unit: whole, but services go without their ending."""
    base = unit.removesuffix(".service")
    return base if base and unit_type(base) == "service" else unit


class EntryKind(StrEnum):
    """What a path is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    OTHER = "other"
    """A device, a pipe or a socket: its content is nobody's configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageInfo:
    """A package and its version."""

    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEntry:
    """One path of a guest; sizes in bytes."""

    path: str
    """Absolute. Bytes that are no UTF-8 stand as `\\xNN`, and `literal` is false."""
    literal: bool = True
    kind: EntryKind
    size: int = 0
    mode: int
    """The permission bits with setuid, setgid and sticky: 0 to 0o7777."""
    uid: int
    gid: int
    owner: str | None = None
    """The name of `uid` in the guest, None when it has none."""
    group: str | None = None
    sha256: str | None = None
    """Of a file's content, 64 hex digits; None when it was not read."""
    target: str | None = None
    """Where a symbolic link points, as it is written."""
    package: str | None = None
    """The package that lists this path as its own, where the package manager was asked."""
    pristine: bool | None = None
    """Whether a file holds what its package brought; None when nobody can tell."""
    capabilities: str | None = None
    """What a program may do without being root's, as `setcap` takes it; None for nothing."""
    acl: str | None = None
    """For whom an access list opens it beside owner and mode, as `setfacl` takes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """A service of the guest's service manager; None where the guest does not say."""

    name: str
    """Of a unit that is no service: with its ending, as `backup.timer`."""
    enabled: bool | None = None
    active: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Omission:
    """A path that was not looked at, with all below it, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A guest at one moment; sequences are ordered by name, so equal guests are equal values."""

    taken_at: datetime
    roots: tuple[str, ...]
    """The directories that were looked at."""
    entries: tuple[ManifestEntry, ...] = ()
    packages: tuple[PackageInfo, ...] = ()
    package_manager: str | None = None
    """`dpkg`, `rpm` or `apk`, None when the guest has none of them."""
    services: tuple[ServiceState, ...] = ()
    service_manager: str | None = None
    """`systemd`, or None when the guest has nothing that could be asked."""
    unit_types: tuple[str, ...] = ("service",)
    """Of which types `services` tells units; earlier versions asked for services only."""
    chosen_alternatives: tuple[str, ...] | None = None
    """Paths in `/etc/alternatives` that the package manager does not choose by itself; None where
    it did not say."""
    attributes: tuple[str, ...] = ()
    """Which of `FILE_ATTRIBUTES` were told: where the guest has the program that can."""
    omissions: tuple[Omission, ...] = ()
    system: Mapping[str, str] = field(default_factory=dict)
    """`os-release` of the guest: `ID`, `VERSION_ID` and the like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A path before and after; None where it did not exist, never None on both sides."""

    before: ManifestEntry | None
    after: ManifestEntry | None
    package: str | None = None
    """The package whose coming, going or other version explains this change whole."""

    @property
    def path(self) -> str:
        """Return the path, which is the same on both sides."""
        entry = self.after or self.before
        assert entry is not None
        return entry.path

    @property
    def literal(self) -> bool:
        """Return whether the path's text is its name, on both sides alike."""
        entry = self.after or self.before
        assert entry is not None
        return entry.literal


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageChange:
    """A package before and after; None where it was not installed, never None on both sides."""

    name: str
    before: str | None
    """The version."""
    after: str | None
    others: bool = False
    """Whether further versions of it are installed after the change, as rpm keeps kernels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDifference:
    """A service before and after; None where it did not exist, never None on both sides."""

    name: str
    before: ServiceState | None
    after: ServiceState | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """How many differences one noise rule left out."""

    rule: str
    """The rule's pattern."""
    differences: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """All that is different between two manifests, ordered by name; noise is left out."""

    files: tuple[FileChange, ...] = ()
    packages: tuple[PackageChange, ...] = ()
    package_manager: str | None = None
    services: tuple[ServiceDifference, ...] = ()
    service_manager: str | None = None
    unknown: tuple[Omission, ...] = ()
    """What neither or only one of the manifests could see, so that nothing is said of it."""
    ignored: tuple[Ignored, ...] = ()
    """What noise rules left out, so that nothing is left out in silence."""

    @property
    def empty(self) -> bool:
        """Return whether nothing is different, as far as both manifests could see."""
        return not (self.files or self.packages or self.services)
