"""What a fresh farm host needs to take sandboxes, and what is somebody else's on every host."""

from __future__ import annotations

from contextlib import closing
from uuid import uuid4

import libvirt

from tests.fleet.farm import FarmHost
from tests.fleet.host import IMAGES, Host

IMAGE = "base.qcow2"
POOL = "default-pool"
POOL_PATH = f"{IMAGES}/{POOL}"
"""Where a real host has it."""
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
        connection.defineXML(_domain(FOREIGN, "test")).create()


def furnish_real(host: Host) -> None:
    """Give a real host such a pool with the small image in it, and such a domain, which is held."""
    host.run("mkdir", POOL_PATH)
    host.run("cp", f"{IMAGES}/small.qcow2", f"{POOL_PATH}/{IMAGE}")
    host.run("virsh", "-q", "pool-create-as", POOL, "dir", "--target", POOL_PATH)
    with closing(libvirt.open(host.uri)) as connection:
        connection.storagePoolLookupByName(POOL).createXML(_volume(FOREIGN_VOLUME, "raw"))
        foreign = connection.defineXML(_domain(FOREIGN, "qemu"))
        foreign.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)


def _volume(name: str, kind: str) -> str:
    return (
        f"<volume><name>{name}</name><capacity unit='MiB'>64</capacity>"
        f"<allocation unit='MiB'>8</allocation><target><format type='{kind}'/></target></volume>"
    )


def _domain(name: str, kind: str) -> str:
    return (
        f"<domain type='{kind}'><name>{name}</name><uuid>{uuid4()}</uuid>"
        "<memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>"
    )
