"""Which ways to a host are allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler.clock import SystemClock
from scheduler.errors import HostRefused, Invalid
from scheduler.hosts import Drivers, Keyring
from scheduler.hosts.routes import DirectRoute, check_route, direct_uri, socket_of
from scheduler.model.hosts import Transport
from tests.hosts.subjects import host_record

SSH = {
    "transport": Transport.SSH,
    "address": "10.0.0.5",
    "ssh_key": "/etc/sandboxd/id_ed25519",
    "ssh_known_hosts": "/etc/sandboxd/known_hosts",
}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"uri": "qemu:///system"},
        {"uri": "qemu+unix:///session?socket=/run/x"},
        {"uri": "test+unix:///default?socket=/run/x"},
        {"transport": Transport.TEST, "uri": "test:///srv/node.xml"},
        SSH,
    ],
)
def test_these_are_allowed(values: dict[str, object]) -> None:
    check_route(host_record("h", **values))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"uri": "qemu+tcp://10.0.0.5/system"}, "uri"),
        ({"uri": "qemu+ssh://10.0.0.5/system"}, "uri"),
        ({"uri": "qemu://10.0.0.5/system"}, "uri"),
        ({"uri": "qemu+unix://10.0.0.5/system"}, "uri"),
        ({"uri": "lxc:///"}, "uri"),
        ({"uri": "test:///default"}, "uri"),
        ({"transport": Transport.TEST}, "uri"),
        ({"transport": Transport.TEST, "uri": "test:///default"}, "uri"),
        ({"transport": Transport.TEST, "uri": "qemu:///system"}, "uri"),
        ({**SSH, "ssh_key": None}, "ssh_key"),
        ({**SSH, "ssh_known_hosts": None}, "ssh_known_hosts"),
        ({**SSH, "address": ""}, "address"),
        ({**SSH, "uri": "qemu:///system"}, "uri"),
    ],
)
def test_these_are_refused_with_their_field(values: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_route(host_record("h", **values))
    assert list(caught.value.details) == [field]
    assert caught.value.remedy


async def test_a_driver_tells_of_a_way_that_is_not_allowed_at_its_first_call(
    tmp_path: Path,
) -> None:
    keyring = Keyring.open(tmp_path / "cluster.key", "c")
    async with Drivers.open(tmp_path, keyring, SystemClock(), lambda _: None) as drivers:
        driver = drivers.get(host_record("h", uri="qemu+tcp://10.0.0.5/system"))
        with pytest.raises(HostRefused, match="cannot be reached as configured") as caught:
            await driver.inventory()
        assert caught.value.remedy
        await drivers.forget("HST-h")
        await drivers.forget("HST-h")


async def test_a_direct_way_is_its_uri() -> None:
    route = DirectRoute(direct_uri(host_record("h")))
    assert await route.uri() == "qemu:///system"
    await route.aclose()


def test_the_socket_is_read_from_the_uri() -> None:
    assert socket_of("test+unix:///default?socket=/run/x%20y") == "/run/x y"
    assert socket_of("qemu:///system") is None
