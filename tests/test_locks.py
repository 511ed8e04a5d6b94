"""The lock files: complete, hashed, free of addresses, and in step with pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-build.lock")


def pins(lock: str) -> dict[str, str]:
    """Return the version of each package that a lock file names."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[[a-z,]+\])?==(\S+)", text, flags=re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_a_hash(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(pins(lock)) > 0
    assert [block for block in blocks if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_says_where_packages_come_from(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    # Neither a URL nor a path can do without a slash.
    assert [line for line in text.splitlines() if "/" in line or "index" in line] == []


@pytest.mark.parametrize(
    ("lock", "table"),
    [
        ("requirements.lock", "project.dependencies"),
        ("requirements-dev.lock", "project.dependencies"),
        ("requirements-dev.lock", "project.optional-dependencies.dev"),
        ("requirements-build.lock", "dependency-groups.build"),
        ("requirements-build.lock", "build-system.requires"),
    ],
)
def test_lock_satisfies_pyproject(lock: str, table: str) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for key in table.split("."):
        declared = declared[key]
    pinned = pins(lock)
    unmet = []
    for line in declared:
        wanted = Requirement(line)
        version = pinned.get(wanted.name.lower())
        if version is None or not wanted.specifier.contains(version, prereleases=True):
            unmet.append(line)
    assert unmet == [], "run scripts/lock"


def test_tests_run_on_the_versions_that_the_daemon_is_installed_with() -> None:
    development = pins("requirements-dev.lock")
    differing = {
        name: (version, development.get(name))
        for name, version in pins("requirements.lock").items()
        if development.get(name) != version
    }
    assert differing == {}
