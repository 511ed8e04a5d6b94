"""Links that say what units, packages and alternatives say already, and those that say more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.changes.delta import delta
from scheduler.changes.noise import DEFAULT_NOISE
from scheduler.model import UNIT_TYPES, Manifest, ManifestEntry, PackageInfo, ServiceState
from tests.changes.manifests import directory, file, link, manifest

WANTS = "/etc/systemd/system/timers.target.wants"
TIMER = link(f"{WANTS}/backup.timer", "/lib/systemd/system/backup.timer")
INSTANCE = link("/etc/systemd/system/a.target.requires/wg@0.service", "/lib/wg@.service")
OWN = link(f"{WANTS}/own.timer", "/etc/systemd/system/own.timer")


def told(*entries: ManifestEntry, **enabled: bool | None) -> Manifest:
    """Return a manifest that tells units; `__` stands for a dot, `_at_` for what it says."""
    names = {name.replace("__", ".").replace("_at_", "@"): one for name, one in enabled.items()}
    services = tuple(ServiceState(name=name, enabled=names[name]) for name in sorted(names))
    return replace(manifest(*entries), services=services, unit_types=UNIT_TYPES)


def shown(before: Manifest, after: Manifest) -> list[str]:
    return [one.path for one in delta(before, after, DEFAULT_NOISE).files]


@pytest.mark.parametrize(
    ("before", "after", "explained"),
    [
        (told(), told(TIMER, backup__timer=True), True),
        (told(backup__timer=False), told(TIMER, backup__timer=True), True),
        (told(backup__timer=True), told(TIMER, backup__timer=True), False),
        (told(), told(TIMER), False),
        (told(TIMER, backup__timer=True), told(backup__timer=False), True),
        (told(TIMER, backup__timer=True), told(backup__timer=True), False),
        (told(TIMER, backup__timer=False), told(backup__timer=False), False),
        (told(TIMER, backup__timer=True), told(), True),
        (told(TIMER, backup__timer=True), told(backup__timer=None), False),
        (told(OWN, file(OWN.target or ""), own__timer=True), told(file(OWN.target or "")), False),
        (told(INSTANCE, wg_at_0=True), told(), True),
        (told(INSTANCE, wg_at_0=True), told(wg_at_0=None), True),
        (told(TIMER), told(replace(TIMER, target="/usr/lib/systemd/system/backup.timer")), True),
        (told(), told(file(TIMER.path), backup__timer=True), False),
        (told(), told(link(f"{WANTS}/deep/er", "/x")), False),
        (told(), told(link(f"{WANTS}/user.slice", "/x")), False),
    ],
)
def test_a_link_of_a_unit_is_explained_by_what_is_told_of_the_unit(
    before: Manifest, after: Manifest, *, explained: bool
) -> None:
    found = delta(before, after, DEFAULT_NOISE)
    assert (not found.files) is explained
    assert bool(found.ignored) is explained


def test_the_directory_of_such_links_comes_and_goes_with_them() -> None:
    made = directory(WANTS)
    enabled = told(made, TIMER, backup__timer=True)
    assert shown(told(), enabled) == []
    assert shown(enabled, told(backup__timer=False)) == []
    assert shown(told(), told(made)) == [WANTS]
    other = told(made, TIMER, link(f"{WANTS}/x.slice", "/x"), backup__timer=True)
    assert shown(told(), other) == [WANTS, f"{WANTS}/x.slice"]
    assert shown(enabled, replace(enabled, entries=(replace(made, mode=0o700), TIMER))) == [WANTS]


S01, S02, K01 = (link(f"/etc/rc2.d/{one}cron", "../init.d/cron") for one in ("S01", "S02", "K01"))
SCRIPT = file("/etc/init.d/cron")


@pytest.mark.parametrize(
    ("before", "after", "shows"),
    [
        (told(S01), told(S02), []),
        (told(S01, cron=True), told(K01, cron=False), []),
        (told(), told(S01, SCRIPT), [SCRIPT.path]),
        (told(S01), told(K01), [K01.path, S01.path]),
        (told(S01), told(replace(S01, target="/x")), [S01.path]),
        (told(), replace(told(S01, cron=True), service_manager=None), [S01.path]),
    ],
)
def test_run_levels_are_told_where_no_service_tells_of_them(
    before: Manifest, after: Manifest, shows: list[str]
) -> None:
    assert shown(before, after) == shows


VI, VIM = (link("/etc/alternatives/vi", target) for target in ("/usr/bin/vi", "/usr/bin/vim"))


@pytest.mark.parametrize(
    ("chosen", "manager", "packages", "explained"),
    [
        (((), ()), "dpkg", False, True),
        (((), ()), None, False, False),
        (((), (VI.path,)), "rpm", True, False),
        (((VI.path,), ()), "dpkg", True, False),
        ((None, ()), "dpkg", True, True),
        ((None, None), "dpkg", False, False),
    ],
)
def test_an_alternative_is_told_unless_the_package_manager_chose_it(
    chosen: tuple[tuple[str, ...] | None, ...],
    manager: str | None,
    *,
    packages: bool,
    explained: bool,
) -> None:
    before, after = (
        replace(manifest(one, package_manager=manager), chosen_alternatives=paths)
        for one, paths in zip((VI, VIM), chosen, strict=True)
    )
    if packages:
        after = replace(after, packages=(PackageInfo(name="vim", version="1"),))
    assert (shown(before, after) == []) is explained


def test_a_name_that_only_looks_like_a_link_of_a_unit_is_told() -> None:
    odd = replace(TIMER, path=f"{WANTS}/x\\xff.timer", literal=False)
    assert shown(told(), told(odd)) == [odd.path]
