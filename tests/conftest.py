"""What every test gets: the real servers of tests/fleet on request, and property tests that repeat.

Run side by side, a file's tests stay together, and so do all that use real hosts.

In CI Hypothesis draws the same examples each run, so that a red build is red for its change.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.disks import mounted

pytest_plugins = ["tests.fleet.plugin"]

# No deadlines: two busy cores say nothing about the code.
settings.register_profile("developer", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")


# Before xdist's own hook, which reads the groups: after it, tests are dealt out one by one.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together what shares servers, for `--dist loadgroup`."""
    for item in items:
        real = item.get_closest_marker("fleet") is not None
        item.add_marker(pytest.mark.xdist_group("fleet" if real else str(item.path)))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MiB, mounted for the test; only root may."""
    with mounted(tmp_path / "disk", "3m") as disk:
        yield disk
