"""The hosts of this room's tests: one real host, up for the module that asks for it, and fakes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import libvirt
import pytest

from scheduler.hosts import domains, volumes
from scheduler.hosts.abilities import TEST_IN_PROCESS
from scheduler.hosts.events import start_event_loop
from scheduler.hosts.handles import Handle, open_handle
from scheduler.hosts.plans import BaseImage
from scheduler.hosts.simulated import SimulatedHost, SimulatedImage, write_node_file
from tests.fleet.farm import LibvirtdFarm
from tests.fleet.fleet import Fleet
from tests.hosts import subjects
from tests.hosts.calls import Gate
from tests.hosts.races import KEYRING, MIB, PLAN, UUID
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


@pytest.fixture
def handle(tmp_path: Path) -> Iterator[Handle]:
    """A connection to libvirt's test driver, for tests that act between two calls on it."""
    start_event_loop()
    host = SimulatedHost(
        name="sim",
        cpus=4,
        memory_mb=4096,
        images=[SimulatedImage(name="golden.qcow2", capacity_mb=64)],
    )
    made = open_handle(write_node_file(tmp_path, host), TEST_IN_PROCESS, None)
    yield made
    made.close()


@pytest.fixture
def base(handle: Handle) -> BaseImage:
    return volumes.inspect_base(handle, "default", "golden.qcow2")


@pytest.fixture
def domain(handle: Handle, base: BaseImage) -> Callable[[], libvirt.virDomain]:
    """Return the way to our domain, defined and stopped, behind the code under test."""
    volumes.create_overlay(handle, "default", PLAN.overlay, base, 64 * MIB)
    domains.define(handle, PLAN, KEYRING)
    return lambda: handle.conn.lookupByUUIDString(UUID)


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
