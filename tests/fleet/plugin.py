"""The fixtures of this package, which `tests/conftest.py` offers to every test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fleet.postgres import PostgresCluster

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """One PostgreSQL server for the session; ask it for a `database()` of your own."""
    with PostgresCluster.make() as cluster:
        yield cluster
