"""The API on a real socket, over a real store; time alone is held in the hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from scheduler.api.app import build_app
from scheduler.api.listener import serve
from tests.clocks import ManualClock
from tests.service.planes import Plane, database, plane


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def cloud(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Plane]:
    """A plane with one healthy host of 8 CPUs."""
    async with plane(database(tmp_path), clock) as opened:
        await opened.add_host("alpha")
        yield opened


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "admin.sock"


@pytest.fixture
def missing() -> list[str]:
    """What the daemon would still lack; tests may add to it."""
    return []


@pytest.fixture
async def http(
    cloud: Plane, socket_path: Path, missing: list[str]
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the served application."""
    app = build_app(cloud.services, missing=lambda: missing)
    async with (
        serve(app, socket_path, group=None, on_stop=cloud.journal.close),
        client(socket_path) as connected,
    ):
        yield connected


def client(path: Path) -> httpx2.AsyncClient:
    """Return a client of the socket at `path`."""
    transport = httpx2.AsyncHTTPTransport(uds=str(path), limits=httpx2.Limits(max_connections=200))
    return httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=240)
