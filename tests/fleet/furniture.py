"""What a fresh farm host needs to take sandboxes, and what is somebody else's on every host."""

from __future__ import annotations

from contextlib import closing
from uuid import uuid4

import libvirt

from tests.fleet.farm import FarmHost

IMAGE = "base.qcow2"
POOL = "default-pool"
FOREIGN = "sbx-not-ours"
"""Named as if it were ours: a domain and, with a suffix, a volume."""
FOREIGN_VOLUME = "sbx-precious.img"
NETWORK = """
<network><name>default</name><forward mode='nat'/><ip address='10.0.0.1' netmask='255.0.0.0'>
<dhcp><range start='10.0.0.2' end='10.0.255.254'/></dhcp></ip></network>"""


def furnish(host: FarmHost) -> None:
    """Give a fresh host the golden image, and something of somebody else's."""
    with closing(libvirt.open(host.uri)) as connection:
        for domain in connection.listAllDomains():
            domain.destroy()
            domain.undefine()
        # The test driver's guests get addresses 20 apart: a small network has room for 13 starts.
        network = connection.networkLookupByName("default")
        network.destroy()
        network.undefine()
        connection.networkDefineXML(NETWORK).create()
        pool = connection.storagePoolLookupByName(POOL)
        pool.createXML(_volume(IMAGE, "qcow2"))
        pool.createXML(_volume(FOREIGN_VOLUME, "raw"))
        connection.defineXML(_domain(FOREIGN)).create()


def _volume(name: str, kind: str) -> str:
    return (
        f"<volume><name>{name}</name><capacity unit='MiB'>64</capacity>"
        f"<allocation unit='MiB'>8</allocation><target><format type='{kind}'/></target></volume>"
    )


def _domain(name: str) -> str:
    return (
        f"<domain type='test'><name>{name}</name><uuid>{uuid4()}</uuid>"
        "<memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>"
    )
