"""A machine that loses its power while it is dialled: the kernel notices, and dials go on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.clock import SystemClock
from scheduler.errors import HostUnreachable
from scheduler.hosts import Drivers, HostDriver, Keyring, dead_peers
from scheduler.hosts.dead_peers import break_when_dead
from scheduler.hosts.deadlines import DEADLINE_SECONDS, Verb
from scheduler.model.hosts import Transport
from tests.fleet.certificates import ADDRESS, Authority
from tests.hosts.subjects import CLUSTER, host_record
from tests.waits import until_answer

pytestmark = pytest.mark.needs("root")

MINUTES = 180.0
TCP_REPAIR = 19
"""From linux/tcp.h: closing says no word to the other side then."""


class SilentMachine:
    """Takes connections and says nothing, until its power is pulled."""

    def __init__(self) -> None:
        self._listener = socket.create_server((ADDRESS, 0))
        self.port: int = self._listener.getsockname()[1]
        self.taken: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.taken.append(connection)

    def lose_power(self) -> None:
        """Forget all connections; who asks for them is told that there are none."""
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for connection in self.taken:
            connection.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
            connection.close()
        self.taken.clear()


@pytest.fixture
def machine() -> Iterator[SilentMachine]:
    made = SilentMachine()
    yield made
    made.lose_power()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_peers, "IDLE_SECONDS", 1)


def test_only_connections_to_that_port_are_asked_about(machine: SilentMachine) -> None:
    other = SilentMachine()
    with (
        socket.create_connection((ADDRESS, machine.port)) as watched,
        socket.create_connection((ADDRESS, other.port)) as unwatched,
    ):
        assert break_when_dead(machine.port) == 1
        watched.settimeout(MINUTES)
        machine.lose_power()
        with pytest.raises(ConnectionResetError):
            watched.recv(1)
        assert unwatched.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
    other.lose_power()


async def test_a_host_that_went_while_it_was_dialled_is_dialled_again(
    machine: SilentMachine, tmp_path: Path
) -> None:
    """A few dials that hang are all that it may have; without the kernel they hung for ever."""
    uri = Authority("ours").client(tmp_path / "client").uri(machine.port)
    record = host_record("tls", transport=Transport.TLS, address=ADDRESS, uri=uri)
    deadlines = {**DEADLINE_SECONDS, Verb.OPEN: 0.2}
    keyring = Keyring.open(tmp_path / "cluster.key", str(CLUSTER))
    async with Drivers.open(
        tmp_path, keyring, SystemClock(), lambda _: None, deadlines=deadlines
    ) as drivers:
        driver = drivers.get(record)
        await until_answer(lambda: says(driver, "still hang"), seconds=MINUTES)
        assert await says(driver, "still hang"), "it is shut out for as long as they hang"
        machine.lose_power()
        await until_answer(lambda: says(driver, "could not be reached"), seconds=MINUTES)


async def says(driver: HostDriver, words: str) -> bool:
    """Return whether the host is not reached for that reason."""
    with pytest.raises(HostUnreachable) as caught:
        await driver.inventory()
    return words in caught.value.message
