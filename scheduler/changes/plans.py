"""What a delta asks of another machine: one list of wishes for each kind, whoever grants them.

Nothing is dropped: what cannot be wished for is a `Review` with its reason. Guests chose the names
in here, so every tool's writer decides for itself how, and whether, it can write one literally.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from scheduler.changes.contents import Contents
from scheduler.changes.delta import otherwise, untold
from scheduler.changes.file_attributes import WORDS, differing
from scheduler.changes.secrets import secret_in
from scheduler.changes.unit_files import is_unit_file
from scheduler.changes.wanted_accounts import (
    WantedAccount,
    WantedAccounts,
    wanted_accounts,
)
from scheduler.changes.wanted_packages import WantedPackage, wanted_packages
from scheduler.changes.wanted_services import (
    WantedService,
    WantedServices,
    may_restart,
    wanted_services,
)
from scheduler.model import (
    FILE_ATTRIBUTES,
    Delta,
    EntryKind,
    FileChange,
    ManifestEntry,
    Omission,
    unit_type,
)

MOST_CONTENT_BYTES = 64 * 2**20
"""How much all files of a change set may hold together."""

ALL = "*"
"""The name of all packages or services, where nobody knows which."""
ACCOUNT_FILES = frozenset({"/etc/group", "/etc/passwd", "/etc/subgid", "/etc/subuid"})

_ALTERNATIVES = "/etc/alternatives/"
_LIBRARY = re.compile(
    r"/(?:.*/)?lib[^/]*/(?:.*/)?[^/]+\.so(?:\.[^/]*)?|/etc/ld\.so\.conf.*", re.DOTALL
)
"""What `ldconfig` looks at, or may: to run it once too often does no harm."""
_HOMES = re.compile(r"/(home|root)/")
_READ_BY_ALL = 0o004
_ORDINARY = {
    EntryKind.FILE: {(0o644, 0, 0), (0o755, 0, 0)},
    EntryKind.DIRECTORY: {(0o755, 0, 0)},
}
"""Modes and owners with which packages bring most of what they do."""
_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?")
_NO_ACCOUNTS = WantedAccounts()
_NOTHING = ManifestEntry(path="/", kind=EntryKind.OTHER, mode=0, uid=0, gid=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """Something that somebody has to look at, because it is not in the code."""

    kind: str
    """`path`, `attributes` (of a path), `package` or `service`."""
    subject: str
    """Its name, as the guest chose it."""
    reason: str
    tool: str | None = None
    """The tool that cannot say it; None for every one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPath:
    """A path as it is to be; a removal has neither owner nor mode."""

    path: str
    kind: EntryKind
    owner: str = ""
    group: str = ""
    mode: str = ""
    """Four octal digits."""
    sha256: str | None = None
    """What a file is to hold; None leaves it as it is."""
    target: str = ""
    was: EntryKind | None = None
    """What it was, where that is something else."""
    brought: bool = False
    """A package that comes brings it, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that is to be brought about, in this order; reviews for what is not."""

    package_manager: str | None = None
    ended: tuple[str, ...] = ()
    """Units that are to be stopped where they are loaded: their files go."""
    absent_packages: tuple[str, ...] = ()
    purged_packages: tuple[str, ...] = ()
    """What is to go with its configuration, which dpkg keeps otherwise."""
    packages: tuple[WantedPackage, ...] = ()
    made: WantedAccounts = _NO_ACCOUNTS
    """Accounts that are to be there, with their numbers, before packages come."""
    removed: tuple[WantedPath, ...] = ()
    """What is to go; a directory with all that is in it."""
    accounts: tuple[WantedPath, ...] = ()
    """Files that say which accounts there are: whatever has an owner needs them first."""
    directories: tuple[WantedPath, ...] = ()
    files: tuple[WantedPath, ...] = ()
    """Files with what they are to hold."""
    touched: tuple[WantedPath, ...] = ()
    """Files of which only owner or mode are to be others."""
    links: tuple[WantedPath, ...] = ()
    libraries: bool = False
    """Whether the linker has to look again at which libraries there are."""
    rereads: bool = False
    """Whether systemd has to read its units again, be there services or not."""
    reconfigured: tuple[str, ...] = ()
    """Services that restart where they run, and are left alone where they do not."""
    services: tuple[WantedService, ...] = ()
    reviews: tuple[Review, ...] = ()
    notes: tuple[Review, ...] = ()
    """What is in the code, and deserves a look all the same."""

    @property
    def homes(self) -> tuple[WantedAccount, ...]:
        """Return the accounts whose homes packages may leave to whoever made the account."""
        return tuple(one for one in self.made.accounts if self.packages and one.leaves_home)

    @property
    def paths(self) -> tuple[WantedPath, ...]:
        """Return every path that is wished for, removals excepted."""
        return (*self.accounts, *self.directories, *self.files, *self.touched, *self.links)

    @property
    def written(self) -> tuple[WantedPath, ...]:
        """Return every file that is to hold something."""
        return (*self.accounts, *self.files)


@dataclass(slots=True)
class _Draft:
    """A plan in the making."""

    contents: Contents
    wishes: dict[str, list[WantedPath]] = field(default_factory=dict)
    reviews: list[Review] = field(default_factory=list)
    notes: list[Review] = field(default_factory=list)
    kept: dict[str, str | None] = field(default_factory=dict)
    """Why a content cannot be taken along, by its digest; None for one that is."""
    bytes_left: int = MOST_CONTENT_BYTES
    coming: frozenset[str] = frozenset()
    """The packages that come."""

    def of(self, kind: str) -> tuple[WantedPath, ...]:
        return tuple(self.wishes.get(kind, ()))

    def wish(self, kind: str, path: WantedPath) -> None:
        self.wishes.setdefault(kind, []).append(path)

    def changed(self) -> tuple[str, ...]:
        """Return every path of which anything is wished."""
        return tuple(one.path for wishes in self.wishes.values() for one in wishes)

    def review(self, path: str, reason: str) -> None:
        self.reviews.append(Review(kind="path", subject=path, reason=reason))

    def note(self, path: str, reason: str) -> None:
        self.notes.append(Review(kind="path", subject=path, reason=reason))


def is_library(path: str) -> bool:
    """Return whether `ldconfig` has to be run when this path has changed."""
    return _LIBRARY.fullmatch(path) is not None


def plan(delta: Delta, contents: Contents) -> Plan:
    """Return what brings a machine from before a delta to after it."""
    coming = frozenset(one.name for one in delta.packages if one.before is None)
    draft = _Draft(contents, coming=coming)
    packages, faults = wanted_packages(delta)
    for name, reason in faults:
        draft.reviews.append(Review(kind="package", subject=name, reason=reason))
    for change in sorted(delta.files, key=lambda one: (one.path not in ACCOUNT_FILES, one.path)):
        if change.package is None:
            _file(change, draft)
        else:
            _brought(change, draft)
    for omission in delta.unknown:
        draft.reviews.append(_unknown(omission))
    services, faults = wanted_services(delta)
    for name, reason in faults:
        draft.reviews.append(Review(kind="service", subject=name, reason=reason))
    draft.notes += _unrestarted(services)
    changed = draft.changed()
    return Plan(
        package_manager=delta.package_manager,
        absent_packages=packages.absent,
        purged_packages=packages.purged,
        packages=packages.present,
        made=wanted_accounts(delta, contents) if draft.of("accounts") else _NO_ACCOUNTS,
        removed=_topmost(draft),
        accounts=draft.of("accounts"),
        directories=draft.of("directories"),
        files=draft.of("files"),
        touched=draft.of("touched"),
        links=draft.of("links"),
        ended=services.ended,
        rereads=delta.service_manager == "systemd" and any(map(is_unit_file, changed)),
        reconfigured=tuple(filter(may_restart, services.reconfigured)),
        services=services.present,
        libraries=any(map(is_library, changed)),
        reviews=tuple(draft.reviews),
        notes=tuple(draft.notes),
    )


def _unrestarted(services: WantedServices) -> Iterator[Review]:
    """Yield the services that would be restarted, and must not be."""
    running = [
        one.name for one in services.present if one.running and unit_type(one.name) == "service"
    ]
    for name in (*running, *services.reconfigured):
        if not may_restart(name):
            reason = "it is never restarted: the play, or who is logged in, could lose its way"
            yield Review(kind="service", subject=name, reason=reason)
    for path in services.of_many:
        reason = "which services run with it is not known: restart those where they do"
        yield Review(kind="path", subject=path, reason=reason)


def _unknown(omission: Omission) -> Review:
    if (kind := untold(omission)) is not None:
        return Review(kind=kind, subject=ALL, reason=omission.reason)
    reason = f"nobody looked there: {omission.reason}"
    return Review(kind="path", subject=omission.path, reason=reason)


def _file(change: FileChange, draft: _Draft) -> None:
    before, after = change.before, change.after
    if not (after or before or _NOTHING).literal:
        draft.review(change.path, "its name is not UTF-8, which neither YAML nor Puppet can hold")
    elif after is None:
        assert before is not None
        draft.wish("removed", WantedPath(path=change.path, kind=before.kind))
        if before.kind is EntryKind.DIRECTORY:
            draft.note(change.path, "this directory is removed with all that is in it")
    else:
        if otherwise(before, after):
            _become(before, after, draft)
        _have(before, after, draft)


def _have(before: ManifestEntry | None, after: ManifestEntry, draft: _Draft) -> None:
    """Leave for review what a file has that no module sets, and that goes when it is written."""
    written = before is None or (after.kind is EntryKind.FILE and not _same_content(before, after))
    differ = differing(before, after)
    for name in FILE_ATTRIBUTES:
        told = getattr(after, name)
        if told is not None and (written or name in differ):
            reason = f"the code does not set its {WORDS[name]}: {told}"
        elif name in differ:
            reason = f"the code does not remove its {WORDS[name]}, which went"
        else:
            continue
        draft.reviews.append(Review(kind="attributes", subject=after.path, reason=reason))


def _brought(change: FileChange, draft: _Draft) -> None:
    """Wish for the owner and mode of what a package brought, where those may not be its own.

    No package manager says which they were; of what came with ordinary ones nothing is said.
    """
    before, after = change.before, change.after
    if after is None or not after.literal or after.kind not in _ORDINARY:
        return
    was = _ORDINARY[after.kind] if before is None else {_rights(before)}
    if (before is None or before.kind is after.kind) and _rights(after) not in was:
        kind = "touched" if after.kind is EntryKind.FILE else "directories"
        draft.wish(kind, replace(_wanted(before, after), sha256=None, brought=True))
        draft.note(after.path, "a package brought it: the code sets owner and mode as they were")


def _rights(entry: ManifestEntry) -> tuple[int, int, int]:
    return entry.mode, entry.uid, entry.gid


def _become(before: ManifestEntry | None, after: ManifestEntry, draft: _Draft) -> None:
    wanted = replace(_wanted(before, after), brought=after.package in draft.coming)
    if after.kind is EntryKind.OTHER:
        draft.review(after.path, "it is a device, a pipe or a socket")
    elif after.kind is EntryKind.DIRECTORY:
        draft.wish("directories", wanted)
    elif after.kind is EntryKind.SYMLINK:
        if after.target:
            draft.wish("links", wanted)
            if after.path.startswith(_ALTERNATIVES):
                draft.note(after.path, "update-alternatives would tell the package manager, too")
        else:
            draft.review(after.path, "where this link points was not read")
    elif before is not None and before.kind is after.kind and _same_content(before, after):
        draft.wish("touched", replace(wanted, sha256=None))
    elif (reason := _content_fault(after, draft)) is not None:
        draft.review(after.path, reason)
    elif after.path in ACCOUNT_FILES:
        draft.wish("accounts", wanted)
        draft.note(after.path, "every account of the machine is replaced: make users instead")
    else:
        draft.wish("files", wanted)
        if not after.mode & _READ_BY_ALL and not _HOMES.match(after.path):
            draft.note(after.path, "not everybody may read it: see whether it holds a secret")


def _wanted(before: ManifestEntry | None, after: ManifestEntry) -> WantedPath:
    return WantedPath(
        path=after.path,
        kind=after.kind,
        owner=_account(after.owner, after.uid),
        group=_account(after.group, after.gid),
        mode=f"{after.mode:04o}",
        sha256=after.sha256 if after.kind is EntryKind.FILE else None,
        target=after.target or "",
        was=None if before is None or before.kind is after.kind else before.kind,
    )


def _account(name: str | None, number: int) -> str:
    """Return how an owner is told; a name that could be mistaken for anything is its number."""
    return name if name is not None and _ACCOUNT.fullmatch(name) else str(number)


def _same_content(before: ManifestEntry, after: ManifestEntry) -> bool:
    return before.sha256 is not None and before.sha256 == after.sha256


def _content_fault(entry: ManifestEntry, draft: _Draft) -> str | None:
    """Return why a file's content cannot be taken along, None when it can."""
    if entry.sha256 is None:
        return "its content was not read"
    if entry.sha256 not in draft.kept:
        draft.kept[entry.sha256] = _take(entry, draft)
    reason = draft.kept[entry.sha256]
    return reason if reason is not None else secret_in(entry.path, b"")


def _take(entry: ManifestEntry, draft: _Draft) -> str | None:
    content = draft.contents.get(entry.sha256 or "")
    if content is None:
        return "its content was not kept: it is too large, a secret, or changed while it was read"
    # What is nothing is no secret: other empty files may be taken along.
    if content and (secret := secret_in(entry.path, content)) is not None:
        return secret
    if len(content) > draft.bytes_left:
        return f"all files together hold more than {MOST_CONTENT_BYTES // 2**20} MiB"
    draft.bytes_left -= len(content)
    return None


def _topmost(draft: _Draft) -> tuple[WantedPath, ...]:
    """Return the removals but those of what goes with a directory above it.

    Where a link took a directory's place, removing below it would reach what the link points to.
    """
    kept: list[WantedPath] = []
    became = (*draft.of("accounts"), *draft.of("files"), *draft.of("links"))
    gone = {one.path for one in became if one.was is EntryKind.DIRECTORY}
    for one in sorted(draft.of("removed"), key=lambda one: one.path):
        if not any(parent in gone for parent in _above(one.path)):
            kept.append(one)
            if one.kind is EntryKind.DIRECTORY:
                gone.add(one.path)
    return tuple(kept)


def _above(path: str) -> Iterable[str]:
    while path := path.rpartition("/")[0]:
        yield path
