"""The hosts of this room's tests: one real host, up for the module that asks for it, and fakes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.fleet.farm import LibvirtdFarm
from tests.fleet.fleet import Fleet
from tests.hosts import subjects
from tests.hosts.calls import Gate
from tests.hosts.subjects import Subject

MakeFarm = Callable[[int], LibvirtdFarm]


@pytest.fixture(scope="module")
def one_host() -> Iterator[Fleet]:
    """A fleet with the host `h1` alone; what a test leaves there, the next one meets."""
    with Fleet.make(1) as fleet:
        yield fleet


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open()


@pytest.fixture(params=["fake", "simulated", "farm", pytest.param("real", marks=pytest.mark.fleet)])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    """Each kind of host that the port has an adapter to."""
    async with _open(request, tmp_path) as made:
        yield made


def _open(request: pytest.FixtureRequest, directory: Path) -> AbstractAsyncContextManager[Subject]:
    if request.param == "fake":
        return subjects.fake(directory)
    if request.param == "simulated":
        return subjects.simulated(directory)
    if request.param == "farm":
        make_farm: MakeFarm = request.getfixturevalue("make_farm")
        return subjects.farm(directory, make_farm(1)[0])
    one_host: Fleet = request.getfixturevalue("one_host")
    return subjects.real(directory, one_host["h1"], one_host.access)
