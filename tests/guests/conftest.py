"""Connections to real sshd: a host's, with Debian's tools, and a busybox guest's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import asyncssh
import pytest

from tests.fleet.fleet import Fleet
from tests.fleet.guest import Guest


@pytest.fixture(scope="module")
def small_guest(fleet: Fleet) -> Iterator[Guest]:
    """One guest for the tests of a file, up and answering."""
    guest = Guest(fleet["h1"], "commands", fleet.access)
    guest.define()
    try:
        guest.start()
        guest.wait_for_ssh()
        yield guest
    finally:
        guest.remove()


@pytest.fixture
async def host_connection(fleet: Fleet) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection to a real host's sshd, as root."""
    async with asyncssh.connect(
        fleet["h1"].address,
        username="root",
        config=None,
        agent_path=None,
        client_keys=[str(fleet.access.key)],
        known_hosts=str(fleet.access.known_hosts),
    ) as connection:
        yield connection


@pytest.fixture
async def guest_connection(
    fleet: Fleet, small_guest: Guest, host_connection: asyncssh.SSHClientConnection
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection to a small guest's sshd, as root, through its host."""
    address = small_guest.leased_address()
    assert address is not None
    async with asyncssh.connect(
        address,
        username="root",
        config=None,
        agent_path=None,
        client_keys=[str(fleet.access.key)],
        # This guest's key is its own, made at its first boot.
        known_hosts=None,
        tunnel=host_connection,
    ) as connection:
        yield connection


@pytest.fixture(params=["host", "guest"])
def connection(request: pytest.FixtureRequest) -> asyncssh.SSHClientConnection:
    """Both, one after the other."""
    made: asyncssh.SSHClientConnection = request.getfixturevalue(f"{request.param}_connection")
    return made
