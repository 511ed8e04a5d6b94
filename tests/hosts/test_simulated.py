"""What simulated hosts must be good for: a demonstration that goes on and on."""

from __future__ import annotations

from contextlib import closing
from ipaddress import ip_address, ip_network
from pathlib import Path

import libvirt

from scheduler.hosts.simulated import SimulatedHost, write_node_file

STARTS = 50
GUEST = """
<domain type='test'><name>{0}</name><memory>1024</memory><os><type>hvm</type></os>
<devices><interface type='network'><source network='default'/></interface></devices></domain>"""


def test_the_fiftieth_guest_has_an_address_in_its_network_too(tmp_path: Path) -> None:
    uri = write_node_file(tmp_path, SimulatedHost(name="sim", cpus=8, memory_mb=16384, subnet=7))
    with closing(libvirt.open(uri)) as connection:
        for number in range(STARTS):
            domain = connection.defineXML(GUEST.format(f"guest-{number}"))
            domain.create()
            (interface,) = domain.interfaceAddresses(0).values()
            (found,) = interface["addrs"]
            assert ip_address(found["addr"]) in ip_network("10.7.0.0/16")
