"""Capabilities and access lists: a change that owner and mode do not show, for somebody's eyes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.changes.delta import delta
from scheduler.changes.noise import DEFAULT_NOISE
from scheduler.changes.plans import plan
from scheduler.changes.trees import change_tree
from scheduler.changes.verdicts import expected_reviews, remainders
from scheduler.model import FILE_ATTRIBUTES, Delta, EntryKind, Manifest, ManifestEntry
from tests.changes.guests import CONTENT, digest, entry
from tests.changes.manifests import manifest

PROGRAM = entry("/etc/prog", mode=0o755)
ABLE = replace(PROGRAM, capabilities="cap_net_raw=ep")
OPEN = replace(PROGRAM, acl="user:33:r--")
KEPT = {digest(CONTENT): CONTENT, "b" * 64: b"other"}


def told(*entries: ManifestEntry, attributes: tuple[str, ...] = FILE_ATTRIBUTES) -> Manifest:
    return manifest(*entries, attributes=attributes)


def changed(before: Manifest, after: Manifest) -> Delta:
    return delta(before, after, DEFAULT_NOISE)


def reasons(found: Delta) -> list[tuple[str, str, str]]:
    return [(one.kind, one.subject, one.reason) for one in plan(found, KEPT).reviews]


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (PROGRAM, ABLE, "the code does not set its capabilities: cap_net_raw=ep"),
        (PROGRAM, OPEN, "the code does not set its access list: user:33:r--"),
        (ABLE, PROGRAM, "the code does not remove its capabilities, which went"),
        (OPEN, PROGRAM, "the code does not remove its access list, which went"),
        (None, ABLE, "the code does not set its capabilities: cap_net_raw=ep"),
        (
            replace(ABLE, sha256="b" * 64),
            ABLE,
            "the code does not set its capabilities: cap_net_raw=ep",
        ),
    ],
    ids=["set", "opened", "removed", "closed", "came with them", "written anew"],
)
def test_what_the_code_does_not_set_is_left_for_review(
    before: ManifestEntry | None, after: ManifestEntry, reason: str
) -> None:
    found = changed(told(*([before] if before else [])), told(after))
    assert [one.path for one in found.files] == ["/etc/prog"]
    assert reasons(found) == [("attributes", "/etc/prog", reason)]


@pytest.mark.parametrize(("before", "after"), [(PROGRAM, ABLE), (OPEN, PROGRAM)])
def test_where_nothing_else_differs_nothing_is_wished_for(
    before: ManifestEntry, after: ManifestEntry
) -> None:
    made = change_tree(changed(told(before), told(after)), KEPT, name="web", title="x")
    assert made.wishes == 0
    assert b"Everything that changed is in the code." not in made.files["REVIEW.md"]


def test_a_directory_keeps_its_access_list_while_its_mode_changes() -> None:
    shared = entry("/etc/shared", EntryKind.DIRECTORY, acl="default:user:33:rwx")
    found = changed(told(shared), told(replace(shared, mode=0o700)))
    made = plan(found, KEPT)
    assert ([one.path for one in made.directories], made.reviews) == (["/etc/shared"], ())


@pytest.mark.parametrize("names", [(), ("acl",)])
def test_what_one_manifest_could_not_tell_is_unknown_and_no_change(names: tuple[str, ...]) -> None:
    blind = told(PROGRAM, attributes=names)
    for before, after in ((blind, told(ABLE)), (told(ABLE), blind)):
        found = changed(before, after)
        assert found.files == ()
        (unknown,) = found.unknown
        assert unknown.path == "/etc/prog"
        assert unknown.reason == "its capabilities were told by one manifest only"


def test_of_files_that_have_none_nothing_is_unknown() -> None:
    assert changed(told(PROGRAM, attributes=()), told(PROGRAM)).unknown == ()
    assert changed(told(attributes=()), told(ABLE)).unknown == ()


def test_what_is_noise_is_not_unknown_either() -> None:
    noise = replace(ABLE, path="/etc/machine-id")
    assert changed(told(replace(PROGRAM, path=noise.path), attributes=()), told(noise)).empty
    assert not changed(told(replace(PROGRAM, path=noise.path), attributes=()), told(noise)).unknown


def left(clone: Manifest, after: Manifest) -> list[tuple[str, str, str, bool]]:
    before = told()
    found = changed(before, after)
    remaining = remainders(
        found,
        before=(before, before),
        after=(after, clone),
        noise=DEFAULT_NOISE,
        reviews=expected_reviews(found, KEPT),
    )
    return [(one.kind, one.name, one.difference, one.reviewed) for one in remaining]


def test_a_clone_without_is_told_as_a_remainder() -> None:
    assert left(told(PROGRAM), told(ABLE)) == [("attributes", "/etc/prog", "different", True)]
    assert left(told(ABLE), told(ABLE)) == []


def test_a_clone_that_cannot_tell_is_not_seen() -> None:
    blind = told(PROGRAM, attributes=())
    assert left(blind, told(ABLE)) == [("attributes", "/etc/prog", "not seen", True)]


def test_a_review_of_attributes_excuses_no_other_content() -> None:
    wrong = replace(PROGRAM, sha256="b" * 64)
    assert left(told(wrong), told(ABLE)) == [
        ("attributes", "/etc/prog", "different", True),
        ("path", "/etc/prog", "different", False),
    ]
