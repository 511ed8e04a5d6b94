"""Manifests to compare: written by hand, and drawn."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import strategies as st

from scheduler.model import (
    FILE_ATTRIBUTES,
    UNIT_TYPES,
    EntryKind,
    Manifest,
    ManifestEntry,
    Omission,
    PackageInfo,
    ServiceState,
)

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROOTS = ("/etc", "/srv")


def file(path: str, content: str = "a", mode: int = 0o644, **fields: object) -> ManifestEntry:
    """Return a file whose digest is made of one letter."""
    entry = ManifestEntry(
        path=path, kind=EntryKind.FILE, size=1, mode=mode, uid=0, gid=0, sha256=content * 64
    )
    return replace(entry, **fields)  # type: ignore[arg-type]


def directory(path: str, mode: int = 0o755) -> ManifestEntry:
    """Return a directory."""
    return ManifestEntry(path=path, kind=EntryKind.DIRECTORY, mode=mode, uid=0, gid=0)


def link(path: str, target: str) -> ManifestEntry:
    """Return a symbolic link."""
    return ManifestEntry(path=path, kind=EntryKind.SYMLINK, mode=0o777, uid=0, gid=0, target=target)


def manifest(*entries: ManifestEntry, **fields: object) -> Manifest:
    """Return a manifest of these entries."""
    whole = Manifest(
        taken_at=AT,
        roots=ROOTS,
        entries=tuple(sorted(entries, key=lambda one: (one.path, one.literal))),
        package_manager="dpkg",
        service_manager="systemd",
    )
    return replace(whole, **fields)  # type: ignore[arg-type]


_PATHS = st.sampled_from([f"{root}{rest}" for root in ROOTS for rest in ("", "/a", "/a/b", "/c")])
_ENTRIES = st.builds(
    ManifestEntry,
    path=_PATHS,
    literal=st.booleans(),
    kind=st.sampled_from(EntryKind),
    size=st.integers(0, 2),
    mode=st.sampled_from([0o644, 0o4755]),
    uid=st.integers(0, 1),
    gid=st.just(0),
    sha256=st.sampled_from([None, "a" * 64, "b" * 64]),
    target=st.sampled_from([None, "x", "y"]),
    package=st.sampled_from([None, "p", "q"]),
    pristine=st.sampled_from([None, True, False]),
    capabilities=st.sampled_from([None, None, "cap_x=ep"]),
    acl=st.sampled_from([None, None, "user:33:r--"]),
)
_STATES = st.sampled_from([None, True, False])
_SERVICES = st.builds(
    ServiceState,
    name=st.sampled_from(["a", "b", "getty@1", "a.timer"]),
    enabled=_STATES,
    active=_STATES,
)
_PACKAGES = st.builds(
    PackageInfo, name=st.sampled_from(["p", "q"]), version=st.sampled_from(["1", "2", "3"])
)
_OMISSIONS = st.builds(Omission, path=_PATHS, reason=st.sampled_from(["x", "y"]))


def manifests(omissions: bool = True) -> st.SearchStrategy[Manifest]:
    """Draw manifests with names of a small world, so that two of them often meet."""
    return st.builds(
        Manifest,
        taken_at=st.just(AT),
        roots=st.just(ROOTS),
        entries=st.lists(_ENTRIES, max_size=8, unique_by=lambda one: (one.path, one.literal)).map(
            tuple
        ),
        packages=st.lists(_PACKAGES, max_size=4, unique=True).map(tuple),
        package_manager=st.sampled_from(["dpkg", "rpm"]) if omissions else st.just("dpkg"),
        services=st.lists(_SERVICES, max_size=3, unique_by=lambda one: one.name).map(tuple),
        service_manager=st.sampled_from(["systemd", None]) if omissions else st.just("systemd"),
        unit_types=st.sampled_from([UNIT_TYPES, ("service",)])
        if omissions
        else st.just(UNIT_TYPES),
        chosen_alternatives=st.sampled_from([None, (), ("/etc/alternatives/vi",)]),
        attributes=st.sampled_from([FILE_ATTRIBUTES, ()])
        if omissions
        else st.just(FILE_ATTRIBUTES),
        omissions=(st.lists(_OMISSIONS, max_size=2) if omissions else st.just([])).map(tuple),
    )
