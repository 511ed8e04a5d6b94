"""What a delta asks of another machine, and what is left for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from scheduler.changes.plans import MOST_CONTENT_BYTES, Plan, plan
from scheduler.model import (
    Delta,
    EntryKind,
    FileChange,
    ManifestEntry,
    Omission,
    PackageChange,
    ServiceDifference,
    ServiceState,
)
from tests.changes.guests import CONTENT, added, digest, entry, purged, removed

DIRECTORY, SYMLINK, OTHER = EntryKind.DIRECTORY, EntryKind.SYMLINK, EntryKind.OTHER
HOME = "/root"
"""Where root lives in a guest."""
KEPT = {digest(CONTENT): CONTENT}


def planned(*changes: FileChange, contents: Mapping[str, bytes] | None = None) -> Plan:
    return plan(Delta(files=changes), KEPT if contents is None else contents)


def reasons(made: Plan) -> dict[str, str]:
    return {one.subject: one.reason for one in made.reviews}


def test_each_kind_of_path_is_wished_for_as_what_it_is() -> None:
    made = planned(
        added("/srv/a", DIRECTORY, mode=0o2750, owner="www-data", group="www-data"),
        added("/srv/a/f", mode=0o4755, owner="alice", uid=1000),
        added("/srv/a/l", SYMLINK, target="f", mode=0o777),
    )
    (directory,), (file,), (link,) = made.directories, made.files, made.links
    assert (directory.mode, directory.owner) == ("2750", "www-data")
    assert (file.mode, file.owner, file.group, file.sha256) == (
        "4755",
        "alice",
        "root",
        digest(CONTENT),
    )
    assert (link.target, link.sha256) == ("f", None)
    assert made.reviews == ()


def test_an_alternative_that_somebody_chose_is_a_link_and_deserves_a_look() -> None:
    made = planned(added("/etc/alternatives/vi", SYMLINK, target="/usr/bin/vim", mode=0o777))
    assert [one.target for one in made.links] == ["/usr/bin/vim"]
    assert [one.subject for one in made.notes] == ["/etc/alternatives/vi"]


def test_a_file_of_which_only_the_mode_changed_needs_no_content() -> None:
    change = FileChange(before=entry("/etc/f"), after=entry("/etc/f", mode=0o600))
    made = planned(change, contents={})
    assert [one.path for one in made.touched] == ["/etc/f"]
    assert made.files == ()
    assert made.reviews == ()


def test_an_owner_without_a_name_that_is_one_is_told_by_number() -> None:
    made = planned(
        added("/a", DIRECTORY, owner=None, uid=1000, group="{{ x }}", gid=7),
        added("/b", DIRECTORY, owner="-rf", uid=5),
    )
    assert [(one.owner, one.group) for one in made.directories] == [("1000", "7"), ("5", "root")]


def test_what_became_something_else_says_what_it_was() -> None:
    changes = [
        FileChange(before=entry("/a", DIRECTORY), after=entry("/a", SYMLINK, target="/b")),
        FileChange(before=entry("/c", SYMLINK, target="/d"), after=entry("/c", DIRECTORY)),
        FileChange(before=entry("/e", DIRECTORY), after=entry("/e")),
    ]
    made = planned(*changes)
    assert [one.was for one in made.links] == [DIRECTORY]
    assert [one.was for one in made.directories] == [SYMLINK]
    assert [one.was for one in made.files] == [DIRECTORY]


def test_nothing_is_removed_below_what_went_whole_or_became_a_link() -> None:
    made = planned(
        removed("/old", DIRECTORY),
        removed("/old/deep", DIRECTORY),
        removed("/old/deep/file"),
        removed("/older"),
        FileChange(before=entry("/was", DIRECTORY), after=entry("/was", SYMLINK, target="/etc")),
        removed("/was/passwd"),
    )
    assert [one.path for one in made.removed] == ["/old", "/older"]
    assert [one.subject for one in made.notes] == ["/old", "/old/deep"]


def test_files_that_a_package_explains_come_with_it() -> None:
    change = FileChange(before=None, after=entry("/usr/bin/hello"), package="hello")
    assert planned(change, contents={}) == Plan()


@pytest.mark.parametrize(
    ("before", "after", "wished"),
    [
        (None, entry("/etc/p", mode=0o600), True),
        (None, entry("/etc/p", uid=33, owner="www-data"), True),
        (None, entry("/etc/p", mode=0o755), False),
        (None, entry("/etc/p", DIRECTORY, mode=0o750), True),
        (None, entry("/etc/p", DIRECTORY), False),
        (None, entry("/etc/p", SYMLINK, target="x", mode=0o777), False),
        (None, entry("/etc/p", literal=False, mode=0o600), False),
        (entry("/etc/p"), entry("/etc/p", mode=0o755), True),
        (entry("/etc/p", mode=0o600), entry("/etc/p", mode=0o600, sha256=digest(b"")), False),
        (entry("/etc/p", SYMLINK, target="x"), entry("/etc/p", mode=0o600), False),
        (entry("/etc/p"), None, False),
    ],
)
def test_owner_and_mode_of_what_a_package_brought_are_set_where_they_may_be_somebodys(
    before: ManifestEntry | None, after: ManifestEntry | None, *, wished: bool
) -> None:
    made = planned(FileChange(before=before, after=after, package="p"), contents={})
    told = [(one.path, one.mode, one.sha256) for one in (*made.touched, *made.directories)]
    assert told == ([("/etc/p", f"{after.mode:04o}", None)] if wished and after else [])
    assert [one.subject for one in made.notes] == ["/etc/p"] * wished
    assert made.files == ()
    assert made.reviews == ()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (added("/x", literal=False), "not UTF-8"),
        (removed("/x", literal=False), "not UTF-8"),
        (added("/x", OTHER), "a device"),
        (added("/x", SYMLINK), "where this link points"),
        (added("/x", sha256=None), "was not read"),
        (added("/x", sha256=digest(b"gone")), "was not kept"),
        (added("/etc/shadow"), "secrets are kept at such places"),
    ],
)
def test_what_cannot_be_expressed_is_left_for_review(change: FileChange, why: str) -> None:
    made = planned(change)
    assert why in reasons(made)[change.path]
    assert made.paths == made.removed == ()


def test_a_content_that_is_a_secret_is_not_taken_along_wherever_it_lies() -> None:
    key = b"-----BEGIN OPENSSH PRIVATE KEY-----\n"
    made = planned(added("/srv/motd", sha256=digest(key)), contents={digest(key): key})
    assert "a key or a token" in reasons(made)["/srv/motd"]


def test_a_file_that_not_everybody_may_read_deserves_a_look_outside_of_homes() -> None:
    made = planned(
        added("/etc/app.conf", mode=0o640),
        added("/etc/own", mode=0o600),
        added("/etc/plain"),
        added(f"{HOME}/.profile", mode=0o600),
    )
    assert len(made.files) == 4
    assert [one.subject for one in made.notes] == ["/etc/app.conf", "/etc/own"]
    assert "holds a secret" in made.notes[0].reason


def test_one_content_is_kept_from_a_secret_place_and_taken_from_another() -> None:
    made = planned(added("/a/f"), added("/etc/ssl/private/f"))
    assert [one.path for one in made.files] == ["/a/f"]
    assert list(reasons(made)) == ["/etc/ssl/private/f"]


def test_an_empty_file_at_a_secret_place_takes_no_other_one_with_it() -> None:
    empty = digest(b"")
    made = planned(
        added("/etc/ssl/private/f", sha256=empty),
        added("/opt/f", sha256=empty),
        contents={empty: b""},
    )
    assert [one.path for one in made.files] == ["/opt/f"]
    assert list(reasons(made)) == ["/etc/ssl/private/f"]


def test_all_contents_together_are_bounded_and_a_twin_costs_nothing() -> None:
    half = b"x" * (MOST_CONTENT_BYTES // 2 + 1)
    other = b"y" * (MOST_CONTENT_BYTES // 2)
    kept = {digest(half): half, digest(other): other}
    made = planned(
        added("/a", sha256=digest(half)),
        added("/b", sha256=digest(half)),
        added("/c", sha256=digest(other)),
        contents=kept,
    )
    assert [one.path for one in made.files] == ["/a", "/b"]
    assert "64 MiB" in reasons(made)["/c"]


def test_accounts_come_first_and_deserve_a_look() -> None:
    made = planned(added("/a"), added("/etc/passwd"))
    assert [one.path for one in made.paths] == ["/etc/passwd", "/a"]
    assert made.accounts == made.written[:1]
    assert [one.subject for one in made.notes] == ["/etc/passwd"]


def test_packages_are_wished_for_in_their_version() -> None:
    delta = Delta(
        packages=(
            PackageChange(name="gone", before="1", after=None),
            PackageChange(name="hello", before=None, after="2.10-3"),
            PackageChange(name="libc6:i386", before="1:2.0~rc1", after="1:2.0+b1"),
        ),
        package_manager="dpkg",
    )
    made = plan(delta, {})
    assert made.absent_packages == ("gone",)
    told = [(one.name, one.version, one.replaces) for one in made.packages]
    assert told == [("hello", "2.10-3", False), ("libc6:i386", "1:2.0+b1", True)]
    assert made.reviews == ()


def test_a_package_whose_untouched_configuration_went_was_purged() -> None:
    made = plan(purged(), {})
    assert (made.absent_packages, made.purged_packages) == (("removed",), ("purged",))
    assert made.removed == ()
    assert made.reviews == ()


@pytest.mark.parametrize(
    "delta",
    [
        replace(purged(), package_manager="rpm"),
        replace(purged(), files=(removed("/etc/gone.conf", pristine=True),)),
        replace(purged(), files=(replace(removed("/srv/gone", pristine=True), package="purged"),)),
        replace(purged(), files=(replace(removed("/etc/gone.conf"), package="purged"),)),
        replace(purged(), files=(replace(added("/etc/new.conf"), package="purged"),)),
    ],
)
def test_a_package_that_may_have_been_removed_only_is_not_purged(delta: Delta) -> None:
    made = plan(delta, KEPT)
    assert (made.absent_packages, made.purged_packages) == (("purged", "removed"), ())


@pytest.mark.parametrize("after", [None, "3"])
def test_a_version_beside_others_is_not_removed_by_a_name_that_is_theirs_too(
    after: str | None,
) -> None:
    change = PackageChange(name="kernel", before="1", after=after, others=True)
    made = plan(Delta(packages=(change,), package_manager="rpm"), {})
    assert made.absent_packages == ()
    assert [one.version for one in made.packages] == [one for one in (after,) if one]
    assert [(one.kind, one.subject) for one in made.reviews] == [("package", "kernel")]
    assert "version 1 went and others stay" in made.reviews[0].reason


@pytest.mark.parametrize(
    ("manager", "name", "doubtful"),
    [
        ("rpm", "kernel", True),
        ("rpm", "kernel-rt-modules-extra", True),
        ("rpm", "kmod-nvidia", True),
        ("rpm", "kernel-headers", False),
        ("rpm", "nginx", False),
        ("dpkg", "kmod-dkms", False),
    ],
)
def test_what_rpm_keeps_several_versions_of_is_not_removed_by_name_whatever_a_diff_tells(
    manager: str, name: str, *, doubtful: bool
) -> None:
    gone = PackageChange(name=name, before="1", after=None)
    made = plan(Delta(packages=(gone,), package_manager=manager), {})
    assert made.absent_packages == (() if doubtful else (name,))
    assert [one.subject for one in made.reviews] == ([name] if doubtful else [])
    came = PackageChange(name=name, before="2", after="3")
    made = plan(Delta(packages=(came, gone), package_manager=manager), {})
    assert made.absent_packages == ()
    assert "others may stay" in reasons(made)[name]


@pytest.mark.parametrize(
    ("manager", "name", "version", "why"),
    [
        ("dpkg", "a;id", "1", "no name that dpkg allows"),
        ("dpkg", "hello", "1*", "none that dpkg allows"),
        ("dpkg", "./a.deb", "1", "no name that dpkg allows"),
        ("rpm", "https://x/y.rpm", "1", "no name that rpm allows"),
        ("rpm", "gpg-pubkey", "350d275d-6279464b", "a key that rpm trusts"),
        ("rpm", "hello", "--x", "none that rpm allows"),
        ("apk", "hello", "1", "add or remove it with apk"),
        ("portage", "hello", "1", "not known here"),
        (None, "hello", "1", "not known here"),
    ],
)
def test_packages_that_no_manager_would_know_are_left_for_review(
    manager: str | None, name: str, version: str, why: str
) -> None:
    change = PackageChange(name=name, before=None, after=version)
    made = plan(Delta(packages=(change,), package_manager=manager), {})
    assert why in reasons(made)[name]
    assert made.packages == ()


def test_services_are_enabled_and_run_as_they_did() -> None:
    state = ServiceState(name="web.service", enabled=True, active=False)
    change = ServiceDifference(name="web.service", before=None, after=state)
    (wanted,) = plan(Delta(services=(change,), service_manager="systemd"), {}).services
    assert (wanted.name, wanted.enabled, wanted.running) == ("web.service", True, False)


@pytest.mark.parametrize(
    ("manager", "name", "after", "why"),
    [
        ("systemd", "a b", ServiceState(name="a b", active=True), "no name that systemd"),
        ("systemd", "a*", ServiceState(name="a*", active=True), "no name that systemd"),
        ("systemd", "a@", ServiceState(name="a@", enabled=False, active=False), "a template"),
        ("systemd", "a", None, "it is gone"),
        ("systemd", "a", ServiceState(name="a"), "is not known"),
        (None, "a", ServiceState(name="a", active=True), "not known here"),
    ],
)
def test_services_that_cannot_be_told_are_left_for_review(
    manager: str | None, name: str, after: ServiceState | None, why: str
) -> None:
    change = ServiceDifference(name=name, before=None, after=after)
    made = plan(Delta(services=(change,), service_manager=manager), {})
    assert why in reasons(made)[name]
    assert made.services == ()


def test_what_nobody_looked_at_is_said() -> None:
    made = plan(Delta(unknown=(Omission(path="/srv/big", reason="too many files"),)), {})
    assert reasons(made) == {"/srv/big": "nobody looked there: too many files"}
