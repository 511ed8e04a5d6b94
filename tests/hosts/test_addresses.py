"""Which address of a guest is believed, and which are only reported."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.hosts.addresses import ADDRESSES_READ, Answer, Subnet, _ours, _subnets, report
from scheduler.model.sandboxes import IpSource

MAC = "52:54:00:a3:d5:1b"
SUBNETS: tuple[Subnet, ...] = (
    ip_interface("192.168.122.1/24"),
    ip_interface("fd00:1::1/64"),
)


def answer(source: IpSource, *addresses: str, error: str | None = None) -> Answer:
    return Answer(source=source, addresses=tuple(map(ip_address, addresses)), error=error)


def test_the_first_source_that_knows_one_wins() -> None:
    told = report(
        iter(
            [
                answer(IpSource.LEASE),
                answer(IpSource.AGENT, "192.168.122.7"),
                answer(IpSource.ARP, "192.168.122.8"),
            ]
        ),
        SUBNETS,
    )
    assert (told.address, told.source) == ("192.168.122.7", IpSource.AGENT)
    assert told.said == {
        "lease": "knows no address for this MAC",
        "agent": "192.168.122.7",
    }


def test_later_sources_are_not_asked_once_one_knows() -> None:
    def sources() -> Iterator[Answer]:
        yield answer(IpSource.LEASE, "192.168.122.7")
        raise AssertionError("asked too much")

    assert report(sources(), SUBNETS).source is IpSource.LEASE


def test_ipv4_comes_before_ipv6_and_low_before_high() -> None:
    known = answer(IpSource.LEASE, "fd00:1::2", "192.168.122.9", "192.168.122.10")
    told = report(iter([known]), SUBNETS)
    assert (told.address, told.gateway) == ("192.168.122.9", "192.168.122.1")


@pytest.mark.parametrize(
    "outside",
    [
        "10.0.0.5",
        "192.168.123.4",
        "192.168.122.1",
        "192.168.122.0",
        "192.168.122.255",
        "fd00:2::5",
        "fd00:1::1",
        "169.254.169.254",
    ],
)
def test_what_lies_outside_is_refused_and_told(outside: str) -> None:
    told = report(iter([answer(IpSource.AGENT, outside)]), SUBNETS)
    assert told.address is None
    assert told.refused == (outside,)
    assert told.said == {"agent": outside}


def test_a_refused_address_does_not_hide_a_good_one() -> None:
    told = report(
        iter(
            [
                answer(IpSource.AGENT, "10.0.0.5", "192.168.122.7"),
            ]
        ),
        SUBNETS,
    )
    assert (told.address, told.refused) == ("192.168.122.7", ("10.0.0.5",))


def test_a_network_without_subnets_has_no_bounds() -> None:
    assert report(iter([answer(IpSource.ARP, "10.9.8.7")]), ()).address == "10.9.8.7"


def test_when_none_knows_each_ones_word_is_told() -> None:
    told = report(
        iter([answer(IpSource.LEASE), answer(IpSource.AGENT, error="agent not connected")]),
        SUBNETS,
    )
    assert told.address is None
    assert told.said == {
        "lease": "knows no address for this MAC",
        "agent": "agent not connected",
    }


def test_only_the_recorded_mac_and_addresses_that_others_can_reach_count() -> None:
    interfaces: dict[str, dict[str, object]] = {
        "lo": {"hwaddr": "00:00:00:00:00:00", "addrs": [{"addr": "127.0.0.1"}]},
        "eth1": {"hwaddr": "52:54:00:00:00:01", "addrs": [{"addr": "192.168.122.66"}]},
        "down": {"hwaddr": MAC, "addrs": None},
        "eth0": {
            "hwaddr": MAC.upper(),
            "addrs": [
                {"addr": "fe80::1"},
                {"addr": "127.0.0.1"},
                {"addr": "224.0.0.1"},
                {"addr": "0.0.0.0"},
                {"addr": "$(reboot)"},
                {},
                {"addr": "192.168.122.7", "prefix": 24},
            ],
        },
    }
    assert [str(found) for found in _ours(interfaces, MAC)] == ["192.168.122.7"]


def test_subnets_are_read_from_the_network() -> None:
    network = """
        <network><name>n</name>
          <ip address='192.168.122.1' netmask='255.255.255.0'/>
          <ip family='ipv6' address='fd00:1::1' prefix='64'/>
          <ip family='ipv4'/>
        </network>"""
    assert _subnets(network) == SUBNETS


def test_a_small_subnet_has_no_edges() -> None:
    point_to_point: tuple[Subnet, ...] = (ip_interface("10.0.0.0/31"),)
    assert report(iter([answer(IpSource.ARP, "10.0.0.1")]), point_to_point).address == "10.0.0.1"


@given(st.lists(st.ip_addresses(), max_size=ADDRESSES_READ))
def test_no_address_outside_is_ever_given(claimed: list[object]) -> None:
    told = report(iter([answer(IpSource.AGENT, *map(str, claimed))]), SUBNETS)
    if told.address is not None:
        given_address = ip_address(told.address)
        assert any(given_address in subnet.network for subnet in SUBNETS)
        assert all(given_address != subnet.ip for subnet in SUBNETS)
