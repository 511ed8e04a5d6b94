"""Opening a connection in full or not at all, and closing it for real."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import libvirt
import pytest

from scheduler.hosts.abilities import QEMU, TEST_IN_PROCESS, TEST_SERVED, of_uri
from scheduler.hosts.events import start_event_loop
from scheduler.hosts.handles import Listener, open_handle
from scheduler.hosts.simulated import SimulatedHost, write_node_file
from tests.fleet.farm import LibvirtdFarm
from tests.hosts.interleaved import Hook, Interleaved, libvirt_error, raising
from tests.waits import DEADLINE_SECONDS

DOMAIN = "<domain type='test'><name>x</name><memory>1</memory><os><type>hvm</type></os></domain>"
LISTENER = Listener(domain_changed=lambda _uuid: None, closed=lambda: None)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    start_event_loop()
    return write_node_file(tmp_path, SimulatedHost(name="sim", cpus=1, memory_mb=1024))


@pytest.fixture
def opened() -> list[libvirt.virConnect]:
    return []


def dialler(opened: list[libvirt.virConnect], failing: str) -> Callable[[str], libvirt.virConnect]:
    """Return a way to dial whose connections fail at one method."""

    def dial(uri: str) -> Interleaved:
        conn = libvirt.open(uri)
        opened.append(conn)
        error = libvirt_error(libvirt.VIR_FROM_RPC, libvirt.VIR_ERR_INTERNAL_ERROR)
        return Interleaved(conn, {failing: raising(error)})

    return dial


@pytest.mark.parametrize("failing", ["getCapabilities", "getInfo", "domainEventRegisterAny"])
def test_a_connection_that_fails_half_way_is_closed(
    uri: str, opened: list[libvirt.virConnect], failing: str
) -> None:
    with pytest.raises(libvirt.libvirtError, match="told so"):
        open_handle(uri, TEST_IN_PROCESS, LISTENER, dial=dialler(opened, failing))
    (conn,) = opened
    assert conn._o is None  # closed: libvirt's object is gone


def test_an_open_connection_is_closed_without_a_reference_left(uri: str) -> None:
    handle = open_handle(uri, TEST_IN_PROCESS, LISTENER)
    assert handle.conn.getInfo()[2] == 1
    assert handle.close() == 0


def test_an_event_that_is_being_told_is_no_leaked_reference(uri: str) -> None:
    telling, told = threading.Event(), threading.Event()

    def changed(_uuid: str) -> None:
        telling.set()
        told.wait(0.5)  # no test fails by it: only a close that does not wait would be missed

    handle = open_handle(
        uri, TEST_IN_PROCESS, Listener(domain_changed=changed, closed=lambda: None)
    )
    assert handle.conn.defineXML(DOMAIN)
    assert telling.wait(DEADLINE_SECONDS)
    assert handle.close() == 0
    told.set()


def test_a_leaked_reference_is_counted(uri: str) -> None:
    handle = open_handle(uri, TEST_IN_PROCESS, None)
    pool = handle.conn.storagePoolLookupByName("default")
    assert handle.close() == 1
    del pool


def test_closing_a_connection_that_refuses_is_no_error(uri: str) -> None:
    refusing = {
        name: raising(libvirt_error(libvirt.VIR_FROM_RPC, libvirt.VIR_ERR_INTERNAL_ERROR))
        for name in ("domainEventDeregisterAny", "close")
    }
    conn = libvirt.open(uri)
    handle = open_handle(uri, TEST_IN_PROCESS, LISTENER, dial=lambda _: Interleaved(conn, refusing))
    assert handle.close() == 0
    conn.close()


def test_a_served_host_has_keepalive_and_tells_of_its_end(
    make_farm: Callable[[int], LibvirtdFarm],
) -> None:
    start_event_loop()
    farm = make_farm(1)
    handle = open_handle(farm[0].uri, TEST_SERVED, LISTENER)
    assert handle.conn.isAlive()
    assert handle.close() == 0


def test_a_lost_connection_is_closed_after_libvirt_has_told_of_it(
    make_farm: Callable[[int], LibvirtdFarm],
) -> None:
    """Its own thread, stopped between the loss and the telling, holds the connection."""
    start_event_loop()
    (host,) = make_farm(1)
    tried = threading.Event()

    def slow(
        method: Callable[..., object], closed: Callable[..., object], opaque: object
    ) -> object:
        def late(*what: object) -> None:
            tried.wait(60)
            closed(*what)

        return method(late, opaque)

    def too_soon(method: Callable[[], object]) -> object:
        if tried.is_set():
            return method()
        tried.set()
        raise libvirt_error(libvirt.VIR_FROM_RPC, libvirt.VIR_ERR_INTERNAL_ERROR)

    hooks: dict[str, Hook] = {"registerCloseCallback": slow, "unregisterCloseCallback": too_soon}
    handle = open_handle(
        host.uri, TEST_SERVED, LISTENER, dial=lambda uri: Interleaved(libvirt.open(uri), hooks)
    )
    host.kill()
    assert handle.close() == 0
    host.restart()


def test_a_socket_where_nobody_listens_fails_before_libvirt_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    never = raising(AssertionError("dialled"))
    with pytest.raises(ConnectionRefusedError):
        open_handle(f"test+unix:///default?socket={path}", TEST_SERVED, None, dial=never)
    with pytest.raises(FileNotFoundError):
        open_handle("test+unix:///default?socket=/none", TEST_SERVED, None, dial=never)


def test_abilities_follow_the_uri() -> None:
    assert of_uri("test:///srv/node.xml") is TEST_IN_PROCESS
    assert of_uri("test+unix:///default?socket=/x") is TEST_SERVED
    assert of_uri("qemu:///system") is of_uri("qemu+unix:///system?socket=/x") is QEMU
