"""What holds of the difference of any two manifests."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.changes.delta import MOVED, delta
from scheduler.changes.noise import DEFAULT_NOISE, NoiseRules
from scheduler.model import (
    Delta,
    Manifest,
    ManifestEntry,
    PackageInfo,
    ServiceDifference,
    ServiceState,
)
from tests.changes.manifests import manifests

NONE = NoiseRules()
FEW = settings(max_examples=40)


@FEW
@given(one=manifests())
def test_nothing_is_different_from_itself(one: Manifest) -> None:
    assert delta(one, one, DEFAULT_NOISE).empty


@FEW
@given(before=manifests(), after=manifests(), seed=st.integers())
def test_order_never_matters(before: Manifest, after: Manifest, seed: int) -> None:
    chance = random.Random(seed)
    mixed = [shuffled(one, chance) for one in (before, after)]
    assert delta(mixed[0], mixed[1], NONE) == delta(before, after, NONE)


def shuffled(one: Manifest, chance: random.Random) -> Manifest:
    return replace(
        one,
        entries=tuple(chance.sample(one.entries, len(one.entries))),
        packages=tuple(chance.sample(one.packages, len(one.packages))),
        services=tuple(chance.sample(one.services, len(one.services))),
        omissions=tuple(chance.sample(one.omissions, len(one.omissions))),
    )


@FEW
@given(before=manifests(), after=manifests())
def test_there_and_back_says_the_same(before: Manifest, after: Manifest) -> None:
    there, back = delta(before, after, NONE), delta(after, before, NONE)
    assert [(one.after, one.before) for one in there.files] == [
        (one.before, one.after) for one in back.files
    ]
    assert there.unknown == back.unknown
    assert [one.name for one in there.services] == [one.name for one in back.services]


@FEW
@given(before=manifests(omissions=False), after=manifests(omissions=False))
def test_the_delta_applied_to_before_gives_after(before: Manifest, after: Manifest) -> None:
    found = delta(before, after, NONE)
    unread = {one.path for one in found.unknown}
    moved = tuple(one.path for one in found.unknown if one.reason == MOVED)
    was, became = (
        [one for one in entries if not f"{one.path}/".startswith(tuple(f"{at}/" for at in moved))]
        for entries in (applied_files(before, found), after.entries)
    )
    assert files_of(was, unread) == files_of(became, unread)
    packages = [*before.packages]
    for one in found.packages:
        if one.before:
            packages.remove(PackageInfo(name=one.name, version=one.before))
        if one.after:
            packages.append(PackageInfo(name=one.name, version=one.after))
    assert sorted(packages, key=repr) == sorted(after.packages, key=repr)
    assert applied_services(before, found.services) == {one.name: one for one in after.services}


def applied_files(before: Manifest, found: Delta) -> list[ManifestEntry]:
    entries = {(one.path, one.literal): one for one in before.entries}
    for change in found.files:
        if change.before:
            del entries[change.before.path, change.before.literal]
        if change.after:
            entries[change.after.path, change.after.literal] = change.after
    return [*entries.values()]


def files_of(entries: Iterable[ManifestEntry], unread: set[str]) -> set[object]:
    """Return what a delta speaks of, but for files that it says nobody can tell."""
    spoken: set[object] = set()
    for one in entries:
        content = (one.size, one.sha256) if one.kind == "file" and one.path not in unread else None
        mode, target = (0, one.target) if one.kind == "symlink" else (one.mode, None)
        spoken.add((one.path, one.literal, one.kind, one.uid, one.gid, mode, target, content))
    return spoken


def applied_services(
    before: Manifest, changes: Iterable[ServiceDifference]
) -> dict[str, ServiceState]:
    services = {one.name: one for one in before.services}
    for change in changes:
        services.pop(change.name, None)
        if change.after:
            services[change.name] = change.after
    return services
