"""What is different between two manifests, as far as both could see.

A path that one side lacks is a change only if that side would have listed it: whatever a manifest
says it did not look at is handed on as unknown, never as added or removed. The order in which
manifests list things does not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import zip_longest
from operator import attrgetter

from scheduler.changes.explained_links import explained_links
from scheduler.changes.file_attributes import Attributes, differing
from scheduler.changes.noise import NoiseRules
from scheduler.model import (
    Delta,
    EntryKind,
    FileChange,
    Ignored,
    Manifest,
    ManifestEntry,
    Omission,
    PackageChange,
    PackageInfo,
    ServiceDifference,
    ServiceState,
    unit_type,
)

UNREAD = "its content was not read on both sides"
MOVED = "it became another link, so what is below it lies elsewhere"
ONE_SIDED = "only one of the two manifests looked here"
ONCE_TOLD: Mapping[str, str] = {
    "package": "packages were told by one manifest only",
    "service": "services were told by one manifest only",
}
NEVER_TOLD: Mapping[str, str] = {
    "package": "no package manager that is known here answered: which packages came is not told",
    "service": "no service manager that is known here answered: what is enabled is not told",
}
"""Why nothing is said of packages or services, which omissions of the whole guest give."""

_identity = attrgetter("path", "literal")


def delta(before: Manifest, after: Manifest, noise: NoiseRules) -> Delta:
    """Return what became different from `before` to `after`, but for noise."""
    managers = {
        *_agreed(before.package_manager, after.package_manager),
        *_agreed(before.service_manager, after.service_manager),
    }
    rules = noise.among(tuple(managers))
    packages = package_changes(before.packages, after.packages)
    if before.package_manager != after.package_manager:
        packages = ()
    moved = _moved(before, after)
    changes = sorted(_files(before, after, moved), key=_identity)
    told = explained_links(before, after, changes, packages_differ=bool(packages))
    kept, ignored = _without_noise(changes, rules, told)
    changed = _Packages(packages)
    types = {*before.unit_types} & {*after.unit_types}
    services = (
        service_differences(_of(types, before), _of(types, after), rules)
        if before.service_manager == after.service_manager
        else ()
    )
    return Delta(
        files=tuple(_attributed(one, changed) for one in kept if _differs(one.before, one.after)),
        packages=packages,
        package_manager=after.package_manager,
        services=services,
        service_manager=after.service_manager,
        unknown=_unknown(before, after, kept, rules, moved),
        ignored=ignored,
    )


def untold(omission: Omission) -> str | None:
    """Return of what nothing is said, `package` or `service`; None where it is about a path."""
    told = ((kind, one[kind]) for one in (ONCE_TOLD, NEVER_TOLD) for kind in one)
    return next((kind for kind, reason in told if omission.reason == reason), None)


def bounded(whole: Delta, most_files: int) -> Delta:
    """Return the delta with so many files at most; what is left out is said to be unknown."""
    beyond = whole.files[most_files:]
    if not beyond:
        return whole
    omission = Omission(
        path="/", reason=f"{len(beyond)} more paths changed than the {most_files} that are kept"
    )
    unknown = tuple(sorted((*whole.unknown, omission), key=_omission_key))
    return replace(whole, files=whole.files[:most_files], unknown=unknown)


def package_changes(
    before: Iterable[PackageInfo], after: Iterable[PackageInfo]
) -> tuple[PackageChange, ...]:
    """Return the packages that came, went or have another version, by name.

    Some managers install several versions of a package beside each other.
    """
    old, new = Counter(before), Counter(after)
    gone, come = _versions(old - new), _versions(new - old)
    there = Counter(one.name for one in new.elements())
    return tuple(
        PackageChange(name=name, before=one, after=other, others=there[name] > (other is not None))
        for name in sorted({*gone, *come})
        for one, other in zip_longest(gone.get(name, ()), come.get(name, ()))
    )


def service_differences(
    before: Iterable[ServiceState], after: Iterable[ServiceState], noise: NoiseRules
) -> tuple[ServiceDifference, ...]:
    """Return the services that came, went, or are enabled or running where they were not.

    Manifests of earlier versions list templates of services, which are none.
    """
    old, new = {one.name: one for one in before}, {one.name: one for one in after}
    return tuple(
        ServiceDifference(name=name, before=old.get(name), after=new.get(name))
        for name in sorted({*old, *new})
        if not name.endswith("@")
        and _service_differs(old.get(name), new.get(name), restless=noise.restless(name))
    )


def _of(types: Collection[str], manifest: Manifest) -> Iterator[ServiceState]:
    """Yield the units of these types: the lack of another one says nothing."""
    return (one for one in manifest.services if unit_type(one.name) in types)


def _service_differs(
    before: ServiceState | None, after: ServiceState | None, *, restless: bool
) -> bool:
    if restless:
        return (before and before.enabled) != (after and after.enabled)
    return before != after


def _versions(packages: Counter[PackageInfo]) -> Mapping[str, list[str]]:
    versions: dict[str, list[str]] = {}
    for one in sorted(packages.elements(), key=lambda one: (one.name, one.version)):
        versions.setdefault(one.name, []).append(one.version)
    return versions


def _agreed(before: str | None, after: str | None) -> set[str]:
    return {after} if after is not None and after == before else set()


def _files(before: Manifest, after: Manifest, moved: frozenset[str]) -> Iterator[FileChange]:
    """Yield every path that is or may be different; what one side did not see is left out."""
    old, new = _by_path(before.entries), _by_path(after.entries)
    unseen = Unseen(before), Unseen(after)
    attributes = Attributes(before, after)
    if moved:
        old, new = (
            {key: one for key, one in side.items() if moved.isdisjoint(_and_above(key[0]))}
            for side in (old, new)
        )
    for key, entry in old.items():
        twin = new.get(key)
        if twin is not None:
            if twin is entry or twin == entry:
                continue
            was, now = attributes.comparable(entry), attributes.comparable(twin)
            if _may_differ(was, now):
                yield FileChange(before=was, after=now)
        elif not unseen[1].covers(key[0]):
            yield FileChange(before=entry, after=None)
    for key, entry in new.items():
        if key not in old and not unseen[0].covers(key[0]):
            yield FileChange(before=None, after=entry)


def _moved(before: Manifest, after: Manifest) -> frozenset[str]:
    """Return the roots that are a link in one manifest, and not the same one in the other.

    Below them are the files of two places, and to bring about one from the other would have the
    code remove or write through whatever link a machine has there.
    """
    roots = {*before.roots} & {*after.roots}
    old, new = (
        {one.path: one for one in side.entries if one.literal and one.path in roots}
        for side in (before, after)
    )
    return frozenset(root for root in roots if _is_other_link(old.get(root), new.get(root)))


def _is_other_link(before: ManifestEntry | None, after: ManifestEntry | None) -> bool:
    kinds = {one.kind for one in (before, after) if one is not None}
    return EntryKind.SYMLINK in kinds and (
        before is None or after is None or _target(before) != _target(after)
    )


def _target(entry: ManifestEntry) -> tuple[EntryKind, str | None]:
    return entry.kind, entry.target


def _by_path(entries: Iterable[ManifestEntry]) -> Mapping[tuple[str, bool], ManifestEntry]:
    return {(one.path, one.literal): one for one in entries}


class _Packages:
    """By name, the packages that are not what they were, and those that are gone."""

    def __init__(self, changes: Iterable[PackageChange]) -> None:
        changes = tuple(changes)
        there = {one.name for one in changes if one.after is not None or one.others}
        self.changed = {one.name for one in changes}
        self.gone = self.changed - there


class Unseen:
    """Where a manifest has no entries because it did not look."""

    def __init__(self, manifest: Manifest) -> None:
        self._roots = frozenset(manifest.roots)
        self._omitted = frozenset(one.path for one in manifest.omissions)

    def covers(self, path: str) -> bool:
        """Return whether the lack of an entry for this path says nothing."""
        return self.outside(path) or not self._omitted.isdisjoint(_and_above(path))

    def outside(self, path: str) -> bool:
        """Return whether the path is below none of the roots."""
        return self._roots.isdisjoint(_and_above(path))


def _and_above(path: str) -> Iterator[str]:
    """Yield the path and each directory above it."""
    yield path
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        yield path


def _may_differ(before: ManifestEntry, after: ManifestEntry) -> bool:
    return _differs(before, after) or unread(before, after)


def _differs(before: ManifestEntry | None, after: ManifestEntry | None) -> bool:
    return otherwise(before, after) or bool(differing(before, after))


def otherwise(before: ManifestEntry | None, after: ManifestEntry | None) -> bool:
    """Return whether a path differs in anything but its capabilities and its access list."""
    if before is None or after is None:
        return True
    if (before.kind, before.uid, before.gid) != (after.kind, after.uid, after.gid):
        return True
    if before.kind is EntryKind.SYMLINK:
        return before.target != after.target
    return before.mode != after.mode or (before.kind is EntryKind.FILE and _holds(before, after))


def _holds(before: ManifestEntry, after: ManifestEntry) -> bool:
    """Return whether two files are known to hold different things."""
    if before.size != after.size:
        return True
    return None not in (before.sha256, after.sha256) and before.sha256 != after.sha256


def unread(before: ManifestEntry | None, after: ManifestEntry | None) -> bool:
    """Return whether a file may hold something else, and nobody can tell."""
    return (
        before is not None
        and after is not None
        and before.kind is after.kind is EntryKind.FILE
        and before.size == after.size
        and (before.sha256 is None or after.sha256 is None)
    )


def _without_noise(
    changes: Iterable[FileChange], rules: NoiseRules, told: Mapping[tuple[str, bool], str]
) -> tuple[list[FileChange], tuple[Ignored, ...]]:
    kept, ignored = [], Counter[str]()
    for one in changes:
        rule = rules.rule_for(one.path) or told.get(_identity(one))
        if rule is None:
            kept.append(one)
        elif _differs(one.before, one.after):
            ignored[rule] += 1
    return kept, tuple(Ignored(rule=rule, differences=ignored[rule]) for rule in sorted(ignored))


def _attributed(change: FileChange, packages: _Packages) -> FileChange:
    """Return the change with the package that explains it whole, if one does.

    A file that holds something else than its package brought is somebody's own work, and so may be
    the removal of one whose package is still there.
    """
    entry, explaining = change.after, packages.changed
    if entry is None:
        entry, explaining = change.before, packages.gone
    if entry is None or entry.package not in explaining or entry.pristine is False:
        return change
    return replace(change, package=entry.package)


def _unknown(
    before: Manifest,
    after: Manifest,
    changes: Iterable[FileChange],
    rules: NoiseRules,
    moved: frozenset[str],
) -> tuple[Omission, ...]:
    found = {
        *(one for one in (*before.omissions, *after.omissions) if not rules.rule_for(one.path)),
        *(Omission(path=one.path, reason=UNREAD) for one in changes if _unread_change(one)),
        *(Omission(path=root, reason=MOVED) for root in moved),
        *_one_sided(before, after),
        *_one_sided(after, before),
        *(one for one in Attributes(before, after).unknown() if not rules.rule_for(one.path)),
    }
    for what, managers in (
        ("package", (before.package_manager, after.package_manager)),
        ("service", (before.service_manager, after.service_manager)),
    ):
        if managers[0] != managers[1]:
            found.add(Omission(path="/", reason=ONCE_TOLD[what]))
        elif managers[0] is None:
            found.add(Omission(path="/", reason=NEVER_TOLD[what]))
    return tuple(sorted(found, key=_omission_key))


def _one_sided(one: Manifest, other: Manifest) -> Iterator[Omission]:
    """Yield the roots of one manifest that the other did not look at."""
    unseen = Unseen(other)
    for root in one.roots:
        if unseen.outside(root):
            yield Omission(path=root, reason=ONE_SIDED)


def _unread_change(change: FileChange) -> bool:
    return unread(change.before, change.after)


def _omission_key(omission: Omission) -> tuple[str, str]:
    return omission.path, omission.reason
