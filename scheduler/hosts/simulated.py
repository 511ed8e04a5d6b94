"""Simulated hosts: node files for libvirt's own test driver, the real API without a hypervisor.

Domains, pools, volumes, networks, addresses and events are libvirt's; only guests are missing. A
host's state lives as long as its connection, so a simulated fleet starts empty with each daemon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from lxml import etree

from scheduler.validation.hosts import AddHost


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedImage:
    """A golden image in a simulated host's pool."""

    name: str
    capacity_mb: int = 2048
    physical_mb: int = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedDomain:
    """A domain of somebody else on a simulated host; it runs."""

    name: str
    vcpus: int
    memory_mb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedHost:
    """A host to simulate, memory in MiB; libvirt gives each simulated pool 100 GiB of storage."""

    name: str
    cpus: int
    memory_mb: int
    images: Sequence[SimulatedImage] = field(default=(SimulatedImage(name="debian-12.qcow2"),))
    foreign_domains: Sequence[SimulatedDomain] = ()
    arch: str = "x86_64"
    pool: str = "default"
    network: str = "default"
    subnet: int = 122
    """The second byte of its network, 10.x.0.0/16: libvirt gives its guests addresses 20 apart."""


def write_node_file(directory: Path, host: SimulatedHost) -> str:
    """Write the host's node file and return the URI that opens it.

    The file's name is the host's identity, as a simulated host has no UUID.
    """
    path = directory / f"{host.name}.xml"
    path.write_text(node_xml(host), encoding="utf-8")
    return f"test://{quote(str(path.absolute()))}"


def node_xml(host: SimulatedHost) -> str:
    """Return the node file's text."""
    node = etree.Element("node")
    _add_cpu(node, host)
    _add(node, "memory", str(host.memory_mb * 1024))
    _add_network(node, host)
    _add_pool(node, host)
    for domain in host.foreign_domains:
        _add_domain(node, domain)
    return etree.tostring(node, encoding="unicode", pretty_print=True)


def _add_cpu(node: etree._Element, host: SimulatedHost) -> None:
    cpu = _add(node, "cpu")
    for tag, value in (
        ("mhz", "2600"),
        ("model", host.arch),
        ("active", str(host.cpus)),
        ("nodes", "1"),
        ("sockets", "1"),
        ("cores", str(host.cpus)),
        ("threads", "1"),
    ):
        _add(cpu, tag, value)


def _add_network(node: etree._Element, host: SimulatedHost) -> None:
    prefix = f"10.{host.subnet}"
    network = _add(node, "network")
    _add(network, "name", host.network)
    _add(network, "forward", mode="nat")
    _add(network, "bridge", name=f"virbr{host.subnet}")
    ip = _add(network, "ip", address=f"{prefix}.0.1", netmask="255.255.0.0")
    _add(_add(ip, "dhcp"), "range", start=f"{prefix}.0.2", end=f"{prefix}.255.254")


def _add_pool(node: etree._Element, host: SimulatedHost) -> None:
    pool = _add(node, "pool", type="dir")
    _add(pool, "name", host.pool)
    _add(_add(pool, "target"), "path", f"/var/lib/libvirt/images/{host.name}")
    for image in host.images:
        volume = _add(pool, "volume", type="file")
        _add(volume, "name", image.name)
        _add(volume, "capacity", str(image.capacity_mb), unit="MiB")
        _add(volume, "allocation", str(image.physical_mb), unit="MiB")
        _add(_add(volume, "target"), "format", type="qcow2")


def _add_domain(node: etree._Element, domain: SimulatedDomain) -> None:
    element = _add(node, "domain", type="test")
    _add(element, "name", domain.name)
    _add(element, "memory", str(domain.memory_mb), unit="MiB")
    _add(element, "vcpu", str(domain.vcpus))
    _add(_add(element, "os"), "type", "hvm")


def _add(
    parent: etree._Element, tag: str, text: str | None = None, **attributes: str
) -> etree._Element:
    element = etree.SubElement(parent, tag, attributes)
    element.text = text
    return element


DEMO_HOSTS = (
    SimulatedHost(name="demo-1", cpus=8, memory_mb=16384, subnet=121),
    SimulatedHost(name="demo-2", cpus=16, memory_mb=32768, subnet=122),
    SimulatedHost(name="demo-3", cpus=4, memory_mb=8192, subnet=123),
)


def demo_hosts(directory: Path) -> tuple[AddHost, ...]:
    """Return three hosts, their node files in `directory`, as an operator would add them."""
    directory.mkdir(exist_ok=True)
    return tuple(
        AddHost(name=host.name, transport="test", uri=write_node_file(directory, host))
        for host in DEMO_HOSTS
    )
