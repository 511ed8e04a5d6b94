"""The control plane that these tests act on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clocks import ManualClock
from tests.service.planes import Plane, database, plane


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def cloud(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Plane]:
    """A plane with one healthy host of 8 CPUs, 64 GiB and 1 TB."""
    async with plane(database(tmp_path), clock) as opened:
        await opened.add_host("alpha")
        yield opened
