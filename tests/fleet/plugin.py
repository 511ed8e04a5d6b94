"""The fixtures of this package, which `tests/conftest.py` offers to every test."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.fleet.farm import LibvirtdFarm
from tests.fleet.postgres import PostgresCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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
