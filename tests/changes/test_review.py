"""What the review file says of what nobody could see."""

from __future__ import annotations

import pytest

from scheduler.changes.delta import NEVER_TOLD, ONCE_TOLD
from scheduler.changes.trees import change_tree
from scheduler.model import Delta, Omission, PackageChange


def review_of(delta: Delta) -> str:
    return change_tree(delta, {}, name="web", title="x").files["REVIEW.md"].decode()


@pytest.mark.parametrize("told", [ONCE_TOLD, NEVER_TOLD])
@pytest.mark.parametrize("kind", ["package", "service"])
def test_that_nobody_could_be_asked_stands_there(kind: str, told: dict[str, str]) -> None:
    text = review_of(Delta(unknown=(Omission(path="/", reason=told[kind]),)))
    assert f'- {kind} `"*"`: {told[kind]}' in text
    assert "Everything that changed is in the code." not in text


def test_packages_of_alpine_are_left_to_somebody() -> None:
    nginx = PackageChange(name="nginx", before=None, after="1.26-r0")
    text = review_of(Delta(packages=(nginx,), package_manager="apk"))
    assert '- package `"nginx"`: add or remove it with apk' in text
