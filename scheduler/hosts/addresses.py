"""A guest's address: from the DHCP lease, the guest agent or ARP, in that order of trust.

All three can be influenced by the guest. An address counts only when its MAC is the recorded one
and it lies in a subnet of the network itself; others are reported as refused and never dialled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    IPv6Interface,
    ip_address,
    ip_interface,
)
from itertools import islice

import libvirt

from scheduler.hosts.failures import Failure, meaning
from scheduler.hosts.handles import Handle
from scheduler.hosts.xml_reader import read_xml
from scheduler.model.observations import AddressReport
from scheduler.model.sandboxes import IpSource

Address = IPv4Address | IPv6Address
Subnet = IPv4Interface | IPv6Interface
"""A network's own address with its prefix."""

AGENT_SECONDS = 5
"""How long a guest's agent may think; by itself libvirt waits for ever, which guests could use."""
ADDRESSES_READ = 32
"""How many addresses of one guest are looked at; the agent's answer is as long as it likes."""

SOURCES: Mapping[IpSource, int] = {
    IpSource.LEASE: libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE,
    IpSource.AGENT: libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT,
    IpSource.ARP: libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one source said: addresses of our MAC, or why it said nothing."""

    source: IpSource
    addresses: tuple[Address, ...] = ()
    error: str | None = None


def find_addresses(handle: Handle, uuid: str, mac: str, network: str) -> AddressReport:
    """Ask the sources until one knows an address that may be used; blocking."""
    subnets = _subnets(handle.conn.networkLookupByName(network).XMLDesc(0))
    domain = handle.conn.lookupByUUIDString(uuid)
    answers = (_ask(domain, source, mac) for source in SOURCES)
    return report(answers, subnets)


def find_leased(
    handle: Handle, domain: libvirt.virDomain, interfaces: Iterable[tuple[str, str | None]]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return where a machine of somebody else answers, by leases and ARP alone; blocking.

    `interfaces` are MACs with the host's network that each is on, if it is on one.
    """
    found: list[str] = []
    said: dict[str, str] = {}
    for mac, network in interfaces:
        subnets = () if network is None else _subnets(_network_xml(handle, network))
        for source in (IpSource.LEASE, IpSource.ARP):
            answer = _ask(domain, source, mac)
            said[f"{source.value} of {mac}"] = _words(answer)
            usable = sorted(
                (one for one in answer.addresses if _within(one, subnets)),
                key=lambda one: (one.version, int(one)),
            )
            found += [str(one) for one in usable if str(one) not in found]
    return tuple(found), said


def _network_xml(handle: Handle, network: str) -> str:
    return str(handle.conn.networkLookupByName(network).XMLDesc(0))


def report(answers: Iterator[Answer], subnets: tuple[Subnet, ...]) -> AddressReport:
    """Return the first usable address, IPv4 before IPv6, and what was said on the way."""
    said: dict[str, str] = {}
    refused: list[str] = []
    for answer in answers:
        usable = [found for found in answer.addresses if _within(found, subnets)]
        refused += [str(found) for found in answer.addresses if found not in usable]
        said[answer.source.value] = _words(answer)
        if usable:
            best = min(usable, key=lambda found: (found.version, int(found)))
            return AddressReport(
                address=str(best),
                source=answer.source,
                gateway=next((str(one.ip) for one in subnets if best in one.network), None),
                refused=tuple(refused),
                said=said,
            )
    return AddressReport(refused=tuple(refused), said=said)


def _ask(domain: libvirt.virDomain, source: IpSource, mac: str) -> Answer:
    try:
        if source is IpSource.AGENT:
            domain.agentSetResponseTimeout(AGENT_SECONDS, 0)
        interfaces = domain.interfaceAddresses(SOURCES[source], 0)
    except libvirt.libvirtError as error:
        if meaning(error) in (Failure.LOST, Failure.ABSENT):
            raise
        return Answer(source=source, error=error.get_error_message() or str(error))
    return Answer(source=source, addresses=tuple(islice(_ours(interfaces, mac), ADDRESSES_READ)))


def _ours(interfaces: Mapping[str, Mapping[str, object]], mac: str) -> Iterator[Address]:
    for interface in interfaces.values():
        if str(interface.get("hwaddr") or "").lower() != mac.lower():
            continue
        found = interface.get("addrs")
        for entry in found if isinstance(found, list) else ():
            address = _parse(str(entry.get("addr", "")))
            if address is not None:
                yield address


def _parse(text: str) -> Address | None:
    """Return the address, None for what no other machine can reach a guest by."""
    try:
        address = ip_address(text)
    except ValueError:
        return None  # the agent's answer is the guest's text
    useless = (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
    )
    return None if useless else address


def _within(address: Address, subnets: tuple[Subnet, ...]) -> bool:
    """Return whether a guest may have this address: in a subnet, and not the host's own there.

    A network that declares no subnet, such as a plain bridge, has no bounds to compare with.
    """
    return not subnets or any(_assignable(address, subnet) for subnet in subnets)


def _assignable(address: Address, subnet: Subnet) -> bool:
    network = subnet.network
    if address not in network or address == subnet.ip:
        return False
    edges = (network.network_address, network.broadcast_address)
    return network.num_addresses <= 2 or address not in edges


def _subnets(network_xml: str) -> tuple[Subnet, ...]:
    found: list[Subnet] = []
    for element in read_xml(network_xml).findall("ip"):
        size = element.get("prefix") or element.get("netmask")
        host = element.get("address")
        if host and size:
            found.append(ip_interface(f"{host}/{size}"))
    return tuple(found)


def _words(answer: Answer) -> str:
    if answer.error is not None:
        return answer.error
    if not answer.addresses:
        return "knows no address for this MAC"
    return ", ".join(str(found) for found in answer.addresses)
