"""What is still different on a clone: files, packages and services, and which way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.changes.delta import delta
from scheduler.changes.noise import DEFAULT_NOISE
from scheduler.changes.verdicts import expected_reviews, remainders
from scheduler.model import (
    UNIT_TYPES,
    Delta,
    EntryKind,
    Manifest,
    Omission,
    PackageInfo,
    Remainder,
    ServiceState,
)
from tests.changes.guests import entry
from tests.clocks import START

EMPTY = Manifest(taken_at=START, roots=("/etc",), package_manager="dpkg", service_manager="systemd")
SANDBOX = replace(
    EMPTY,
    packages=(PackageInfo(name="hello", version="1"),),
    services=(ServiceState(name="nginx", enabled=True, active=True),),
)


def test_packages_and_services_that_a_clone_lacks_or_has_too_many_are_named() -> None:
    clone = replace(EMPTY, packages=(PackageInfo(name="other", version="2"),))
    left = remainders(
        Delta(), before=(EMPTY, EMPTY), after=(SANDBOX, clone), noise=DEFAULT_NOISE, reviews=()
    )
    assert [(one.kind, one.name, one.difference) for one in left] == [
        ("package", "hello", "missing"),
        ("package", "other", "surplus"),
        ("service", "nginx", "missing"),
    ]


def test_a_clone_that_became_the_sandbox_has_nothing_left() -> None:
    same = (SANDBOX, SANDBOX)
    assert remainders(Delta(), before=same, after=same, noise=DEFAULT_NOISE, reviews=()) == ()


def left_of(clone: Manifest) -> list[tuple[str, str, str]]:
    """Return what is left when the sandbox's every change was wished for, and this came of it."""
    changed = delta(ETC, BECAME, DEFAULT_NOISE)
    left: tuple[Remainder, ...] = remainders(
        changed, before=(ETC, ETC), after=(BECAME, clone), noise=DEFAULT_NOISE, reviews=()
    )
    return [(one.kind, one.name, one.difference) for one in left]


def left_to_do(before: Manifest, after: Manifest) -> tuple[Remainder, ...]:
    """Return what is missing on a clone on which the play did nothing at all."""
    changed = delta(before, after, DEFAULT_NOISE)
    return remainders(
        changed,
        before=(before, before),
        after=(after, before),
        noise=DEFAULT_NOISE,
        reviews=expected_reviews(changed, {}),
    )


def test_a_timer_that_nobody_enabled_on_a_clone_is_missing() -> None:
    timer = ServiceState(name="backup.timer", enabled=True, active=True)
    before = replace(EMPTY, unit_types=UNIT_TYPES)
    after = replace(before, services=(timer,))
    (left,) = left_to_do(before, after)
    assert (left.kind, left.name, left.reviewed) == ("service", "backup.timer", False)


@pytest.mark.parametrize("before", [EMPTY, replace(EMPTY, package_manager=None)])
def test_packages_of_which_nobody_tells_are_not_proven(before: Manifest) -> None:
    after = replace(EMPTY, package_manager=None)
    left = left_to_do(before, after)
    told = [(one.kind, one.name, one.difference, one.reviewed) for one in left]
    assert told == [("package", "*", "not seen", True)]


def test_a_package_of_alpines_is_told_as_left_to_somebody() -> None:
    before = replace(EMPTY, package_manager="apk")
    after = replace(before, packages=(PackageInfo(name="nginx", version="1.26-r0"),))
    (left,) = left_to_do(before, after)
    assert (left.name, left.difference, left.reviewed) == ("nginx", "missing", True)


FILE = entry("/etc/app.conf")
ETC = replace(EMPTY, entries=(entry("/etc", EntryKind.DIRECTORY),))
BECAME = replace(SANDBOX, entries=(*ETC.entries, FILE))


@pytest.mark.parametrize(
    ("clone", "left"),
    [
        (BECAME, []),
        (
            replace(BECAME, entries=(), omissions=(Omission(path="/etc", reason="no time"),)),
            [("path", "/etc/app.conf", "not seen")],
        ),
        (
            replace(BECAME, entries=(BECAME.entries[0], replace(FILE, sha256=None))),
            [("path", "/etc/app.conf", "not seen")],
        ),
        (
            replace(BECAME, service_manager=None, services=()),
            [("service", "nginx", "not seen")],
        ),
        (
            replace(BECAME, package_manager=None, packages=()),
            [("package", "hello", "not seen")],
        ),
    ],
    ids=["all seen", "not listed", "not read", "no services told", "no packages told"],
)
def test_what_cannot_be_seen_on_a_clone_was_not_proven(
    clone: Manifest, left: list[tuple[str, str, str]]
) -> None:
    assert left_of(clone) == left
