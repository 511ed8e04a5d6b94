"""The fixtures of this package, which `tests/conftest.py` offers to every test."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.fleet.farm import LibvirtdFarm
from tests.fleet.fleet import Fleet
from tests.fleet.image import small_image
from tests.fleet.postgres import PostgresCluster
from tests.fleet.python_image import python_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """One PostgreSQL server for the session; ask it for a `database()` of your own."""
    with PostgresCluster.make() as cluster:
        yield cluster


@pytest.fixture
def make_farm() -> Iterator[Callable[[int], LibvirtdFarm]]:
    """Call it with a count for that many libvirtd with the test driver; they end with the test."""
    with ExitStack() as stack:
        yield lambda count: stack.enter_context(LibvirtdFarm(count))


@pytest.fixture(scope="session")
def guest_image() -> Path:
    """The small guest image's file; read it, never write it."""
    return small_image()


@pytest.fixture(scope="session")
def python_guest_image() -> Path:
    """The image with python3, dpkg and apt; `Host.offer` puts it into a host's pool."""
    return python_image()


@pytest.fixture(scope="session")
def fleet(guest_image: Path) -> Iterator[Fleet]:
    """The session's two real hosts, h1 and h2; a test leaves them as it found them."""
    with Fleet.make(2, guest_image) as fleet:
        yield fleet


@pytest.fixture
def make_fleet(guest_image: Path) -> Iterator[Callable[[int], Fleet]]:
    """Call it with a count for real hosts of your own, to break; they end with the test."""
    with ExitStack() as stack:
        yield lambda count: stack.enter_context(Fleet.make(count, guest_image))
