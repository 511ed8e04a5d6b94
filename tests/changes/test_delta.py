"""What is different between two manifests: tables for the rules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from scheduler.changes.delta import (
    MOVED,
    ONE_SIDED,
    UNREAD,
    bounded,
    delta,
    package_changes,
    untold,
)
from scheduler.changes.noise import DEFAULT_NOISE, NoiseRule, NoiseRules
from scheduler.model import (
    UNIT_TYPES,
    FileChange,
    Ignored,
    ManifestEntry,
    Omission,
    PackageChange,
    PackageInfo,
    ServiceState,
)
from tests.changes.manifests import directory, file, link, manifest

NONE = NoiseRules()
EMPTY = manifest(directory("/etc"))


def paths(changes: Iterable[FileChange]) -> list[str]:
    return [one.path for one in changes]


@pytest.mark.parametrize(
    ("before", "after", "differs"),
    [
        (file("/etc/a"), file("/etc/a"), False),
        (file("/etc/a"), file("/etc/a", "b"), True),
        (file("/etc/a"), file("/etc/a", mode=0o600), True),
        (file("/etc/a"), file("/etc/a", uid=1), True),
        (file("/etc/a"), file("/etc/a", gid=1), True),
        (file("/etc/a"), file("/etc/a", owner="root"), False),
        (file("/etc/a"), file("/etc/a", size=2, sha256=None), True),
        (file("/etc/a"), directory("/etc/a", mode=0o644), True),
        (directory("/etc/a"), replace(directory("/etc/a"), size=9), False),
        (link("/etc/a", "x"), link("/etc/a", "y"), True),
        (link("/etc/a", "x"), replace(link("/etc/a", "x"), mode=0o755), False),
    ],
)
def test_what_makes_a_path_differ(
    before: ManifestEntry, after: ManifestEntry, *, differs: bool
) -> None:
    found = delta(manifest(before), manifest(after), NONE)
    assert found.files == ((FileChange(before=before, after=after),) if differs else ())
    assert found.empty is not differs


def test_names_that_only_look_alike_are_two_paths() -> None:
    plain, escaped = file(r"/etc/\xff"), file(r"/etc/\xff", literal=False)
    found = delta(manifest(plain), manifest(plain, escaped), NONE)
    assert found.files == (FileChange(before=None, after=escaped),)


def test_what_one_side_did_not_see_is_neither_added_nor_removed() -> None:
    omission = Omission(path="/etc/big", reason="too many entries")
    seen = manifest(directory("/etc/big"), file("/etc/big/x"), file("/etc/y"))
    blind = manifest(directory("/etc/big", mode=0o700), omissions=(omission,))
    for before, after in ((seen, blind), (blind, seen)):
        found = delta(before, after, NONE)
        assert paths(found.files) == ["/etc/big", "/etc/y"]
        assert found.unknown == (omission,)


def test_a_root_that_only_one_side_looked_at_is_unknown() -> None:
    before, after = manifest(file("/etc/a")), manifest(file("/srv/a"), roots=("/srv", "/etc/b"))
    found = delta(before, after, NONE)
    assert paths(found.files) == ["/srv/a"]
    assert found.unknown == (Omission(path="/etc", reason=ONE_SIDED),)


@pytest.mark.parametrize(
    "others",
    [
        (link("/srv", "var/other"),),
        (directory("/srv"),),
        (link("/srv", "var/other"), file("/srv/web/index", "b"), file("/srv/more")),
        (),
    ],
)
def test_below_a_root_that_became_another_link_nothing_is_known(
    others: tuple[ManifestEntry, ...],
) -> None:
    """Else the code would remove or write through whatever link a machine has there."""
    linked = manifest(link("/srv", "var/srv"), file("/srv/web/index"), file("/etc/a"))
    moved = manifest(*others, file("/etc/a", "b"))
    for before, after in ((linked, moved), (moved, linked)):
        found = delta(before, after, DEFAULT_NOISE)
        assert [one.path for one in found.files] == ["/etc/a"]
        assert found.unknown == (Omission(path="/srv", reason=MOVED),)


def test_below_a_root_that_stayed_the_same_link_changes_are_told() -> None:
    before = manifest(link("/srv", "var/srv"), file("/srv/web/index"))
    after = manifest(link("/srv", "var/srv"), file("/srv/web/index", "b"), file("/srv/more"))
    found = delta(before, after, DEFAULT_NOISE)
    assert ([one.path for one in found.files], found.unknown) == (
        ["/srv/more", "/srv/web/index"],
        (),
    )


def test_a_file_nobody_read_twice_may_have_changed() -> None:
    before, after = file("/etc/a"), file("/etc/a", sha256=None)
    found = delta(manifest(before), manifest(after), NONE)
    assert found.empty
    assert found.unknown == (Omission(path="/etc/a", reason=UNREAD),)
    wider = delta(manifest(before), manifest(replace(after, mode=0o666)), NONE)
    assert paths(wider.files) == ["/etc/a"]
    assert wider.unknown == found.unknown


def test_noise_is_left_out_and_counted() -> None:
    before = manifest(file("/etc/a"), file("/etc/ssh/ssh_host_rsa_key"))
    after = manifest(
        file("/etc/a", "b"),
        file("/etc/ssh/ssh_host_rsa_key", "b"),
        file("/etc/resolv.conf"),
        omissions=(Omission(path="/etc/mtab", reason="unreadable"),),
    )
    found = delta(before, after, DEFAULT_NOISE)
    assert paths(found.files) == ["/etc/a"]
    assert found.unknown == ()
    assert found.ignored == (
        Ignored(rule="/etc/resolv.conf", differences=1),
        Ignored(rule="/etc/ssh/ssh_host_*", differences=1),
    )


def test_unread_noise_is_no_difference() -> None:
    rules = NoiseRules(paths=(NoiseRule(pattern="/etc/a", reason=""),))
    found = delta(manifest(file("/etc/a")), manifest(file("/etc/a", sha256=None)), rules)
    assert (found.unknown, found.ignored) == ((), ())


@pytest.mark.parametrize(("manager", "noise"), [("systemd", True), (None, False)])
def test_links_of_enabled_services_are_noise_where_services_are_told(
    manager: str | None, *, noise: bool
) -> None:
    wants = link("/etc/systemd/system/multi-user.target.wants/x.service", "/x.service")
    enabled = (ServiceState(name="x", enabled=True),)
    before, after = (
        manifest(*entries, service_manager=manager, services=services)
        for entries, services in (((), ()), ((wants,), enabled))
    )
    found = delta(before, after, DEFAULT_NOISE)
    assert [one.name for one in found.services] == ["x"]
    assert paths(found.files) == ([] if noise else [wants.path])
    assert bool(found.ignored) is noise


def test_units_that_one_manifest_could_not_tell_are_neither_new_nor_gone() -> None:
    timer = ServiceState(name="backup.timer", enabled=True, active=True)
    wants = link("/etc/systemd/system/timers.target.wants/backup.timer", "/x")
    older, newer = manifest(), manifest(wants, services=(timer,), unit_types=UNIT_TYPES)
    for before, after in ((older, newer), (newer, older)):
        found = delta(before, after, DEFAULT_NOISE)
        assert found.services == ()
        assert paths(found.files) == [wants.path]
    none = replace(newer, entries=(), services=())
    found = delta(none, newer, DEFAULT_NOISE)
    assert ([one.name for one in found.services], found.files) == (["backup.timer"], ())


def test_packages_come_go_and_change() -> None:
    before = manifest(
        packages=tuple(
            PackageInfo(name=name, version=version)
            for name, version in (("gone", "1"), ("kept", "1"), ("up", "1"), ("many", "1"))
        )
    )
    after = manifest(
        packages=tuple(
            PackageInfo(name=name, version=version)
            for name, version in (
                ("new", "1"),
                ("kept", "1"),
                ("up", "2"),
                ("many", "1"),
                ("many", "2"),
            )
        )
    )
    assert delta(before, after, NONE).packages == (
        PackageChange(name="gone", before="1", after=None),
        PackageChange(name="many", before=None, after="2", others=True),
        PackageChange(name="new", before=None, after="1"),
        PackageChange(name="up", before="1", after="2"),
    )


def test_nothing_is_said_of_what_only_one_side_asked() -> None:
    before = manifest(package_manager=None, service_manager=None)
    after = manifest(
        packages=(PackageInfo(name="x", version="1"),), services=(ServiceState(name="s"),)
    )
    found = delta(before, after, NONE)
    assert found.empty
    assert [one.reason for one in found.unknown] == [
        "packages were told by one manifest only",
        "services were told by one manifest only",
    ]


def test_where_nobody_could_be_asked_that_is_told() -> None:
    """Silence of both sides is no agreement: what came may be anything."""
    silent = manifest(package_manager=None, service_manager=None)
    found = delta(silent, silent, NONE)
    assert found.empty
    assert [untold(one) for one in found.unknown] == ["package", "service"]
    assert untold(Omission(path="/", reason="no time")) is None


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("12", "2", [("1", None, True)]),
        ("12", "23", [("1", "3", True)]),
        ("123", "4", [("1", "4", False), ("2", None, True), ("3", None, True)]),
        ("1", "2", [("1", "2", False)]),
        ("1", "", [("1", None, False)]),
        ("1", "12", [(None, "2", True)]),
    ],
)
def test_of_a_package_in_many_versions_it_is_told_whether_others_are_there(
    before: str, after: str, told: list[object]
) -> None:
    one, other = (
        [PackageInfo(name="k", version=each) for each in side] for side in (before, after)
    )
    changes = package_changes(one, other)
    assert [(each.before, each.after, each.others) for each in changes] == told


def test_a_template_is_no_service_whichever_version_listed_it() -> None:
    listed = manifest(services=(ServiceState(name="wg-quick@", enabled=False, active=False),))
    assert delta(manifest(), listed, DEFAULT_NOISE).services == ()
    assert delta(listed, manifest(), DEFAULT_NOISE).services == ()


def test_services_that_wake_by_themselves_count_only_when_enabled() -> None:
    before = manifest(
        services=(
            ServiceState(name="a", enabled=True, active=True),
            ServiceState(name="getty@tty1", enabled=True, active=False),
            ServiceState(name="logrotate", enabled=True, active=False),
        )
    )
    after = manifest(
        services=(
            ServiceState(name="a", enabled=True, active=False),
            ServiceState(name="getty@tty1", enabled=True, active=True),
            ServiceState(name="getty@tty2", active=True),
            ServiceState(name="logrotate", enabled=False, active=False),
        )
    )
    found = delta(before, after, DEFAULT_NOISE).services
    assert [one.name for one in found] == ["a", "logrotate"]


@pytest.mark.parametrize(
    ("before", "after", "versions", "explained"),
    [
        (None, file("/etc/p", package="p"), (None, "1"), True),
        (None, file("/etc/p", package="p", pristine=True), (None, "1"), True),
        (None, file("/etc/p", package="p", pristine=False), (None, "1"), False),
        (None, file("/etc/p", package="q"), (None, "1"), False),
        (file("/etc/p", package="p"), None, ("1", None), True),
        (file("/etc/p", package="p"), None, ("1", "2"), False),
        (file("/etc/p"), file("/etc/p", "b", package="p", pristine=True), ("1", "2"), True),
        (file("/etc/p"), file("/etc/p", "b", package="p", pristine=True), ("1", "1"), False),
    ],
)
def test_a_change_is_explained_by_its_package(
    before: ManifestEntry | None,
    after: ManifestEntry | None,
    versions: tuple[str | None, str | None],
    *,
    explained: bool,
) -> None:
    sides = [
        manifest(
            *([entry] if entry else []),
            packages=(PackageInfo(name="p", version=version),) if version else (),
        )
        for entry, version in zip((before, after), versions, strict=True)
    ]
    (change,) = delta(sides[0], sides[1], NONE).files
    assert change.package == ("p" if explained else None)


def test_a_delta_keeps_so_many_files_and_says_what_it_left_out() -> None:
    whole = delta(EMPTY, manifest(directory("/etc"), file("/etc/a"), file("/etc/b")), NONE)
    assert bounded(whole, 2) is whole
    less = bounded(whole, 1)
    assert paths(less.files) == ["/etc/a"]
    assert "1 more paths changed" in less.unknown[0].reason
