"""What trials need: a nursery for daemons, and a site on each engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.nursery import Nursery
from tests.faults.site import Engine, Site
from tests.fleet.postgres import PostgresCluster


@pytest.fixture(scope="package")
def nursery() -> Iterator[Nursery]:
    """The parent of this package's daemons."""
    with Nursery() as nursery:
        yield nursery


@pytest.fixture(scope="package")
def sqlite(nursery: Nursery) -> Iterator[Site]:
    """A site whose clusters keep their records in a file."""
    with Site(Engine.SQLITE, nursery, None) as site:
        yield site


@pytest.fixture(scope="package")
def postgresql(nursery: Nursery, postgres: PostgresCluster) -> Iterator[Site]:
    """A site whose clusters keep their records in PostgreSQL."""
    with Site(Engine.POSTGRESQL, nursery, postgres) as site:
        yield site
