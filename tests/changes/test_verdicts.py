"""What is still different on a clone: files, packages and services, and which way."""

from __future__ import annotations

from dataclasses import replace

from scheduler.changes.noise import DEFAULT_NOISE
from scheduler.changes.verdicts import remainders
from scheduler.model import Delta, Manifest, PackageInfo, ServiceState
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
