"""A look at a machine that is not ours: where it answers, and which file its disk is.

Nothing here changes anything, not even how long libvirt waits for its agent, which is never asked:
the host's own leases and its ARP table are. A frozen disk is one that a snapshot of its owner's
froze, as the host recorded it; a file that merely lies below the disk proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import libvirt
from lxml import etree

from scheduler.hosts.addresses import find_leased
from scheduler.hosts.descriptions import STATES, describe_domain, describe_volume
from scheduler.hosts.handles import Handle
from scheduler.hosts.marks import Keyring
from scheduler.hosts.xml_reader import read_xml
from scheduler.model.observations import DomainState, ForeignDisk, ForeignMachine


def find_foreign(
    handle: Handle, uuid: str, pool_name: str, keyring: Keyring
) -> ForeignMachine | None:
    """Return the machine, None when there is none or it is ours; blocking."""
    try:
        domain = handle.conn.lookupByUUIDString(uuid)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise
    xml = domain.XMLDesc(0)
    described = describe_domain(xml, uuid, keyring)
    if described.mark is not None or described.forged:
        return None
    devices = read_xml(xml)
    state = STATES.get(domain.state()[0], DomainState.UNKNOWN)
    addresses: tuple[str, ...] = ()
    said: dict[str, str] = {}
    if state is DomainState.RUNNING:
        addresses, said = find_leased(handle, domain, _interfaces(devices))
    disks = tuple(_disks(devices))
    return ForeignMachine(
        uuid=uuid,
        name=domain.name(),
        state=state,
        addresses=addresses,
        said=said,
        disks=len(disks),
        disk=_first_disk(handle, domain, pool_name, disks),
    )


def _interfaces(devices: etree._Element) -> Iterator[tuple[str, str | None]]:
    """Yield each interface's MAC, and the network it is on if it is on one of the host's."""
    for interface in devices.iterfind("devices/interface"):
        mac, source = interface.find("mac"), interface.find("source")
        if mac is not None:
            network = None if source is None else source.get("network")
            yield mac.get("address", ""), network


def _disks(devices: etree._Element) -> Iterator[etree._Element]:
    """Yield the sources of the disks that the machine writes to."""
    for disk in devices.iterfind("devices/disk"):
        source = disk.find("source")
        read_only = disk.find("readonly") is not None
        if disk.get("device", "disk") == "disk" and source is not None and not read_only:
            yield source


def _first_disk(
    handle: Handle,
    domain: libvirt.virDomain,
    pool_name: str,
    disks: tuple[etree._Element, ...],
) -> ForeignDisk | None:
    """Return the first disk as a volume of the host's pool; None when it is none."""
    pool = handle.conn.storagePoolLookupByName(pool_name)
    for source in disks[:1]:
        described = _volume(handle, pool, source)
        if described is None:
            return None
        frozen_at = _frozen_at(domain, described.path)
        below = None
        if frozen_at is not None and described.backing is not None:
            below = _volume(handle, pool, etree.Element("source", file=described.backing))
        return replace(
            described,
            frozen=None if below is None else below.name,
            frozen_at=None if below is None else frozen_at,
        )
    return None


def _volume(
    handle: Handle, pool: libvirt.virStoragePool, source: etree._Element
) -> ForeignDisk | None:
    try:
        if source.get("volume"):
            if source.get("pool") != pool.name():
                return None
            volume = pool.storageVolLookupByName(source.get("volume"))
        else:
            volume = handle.conn.storageVolLookupByPath(source.get("file", ""))
        if volume.storagePoolLookupByVolume().name() != pool.name():
            return None
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_VOL:
            return None
        raise
    found = describe_volume(volume.XMLDesc(0))
    seen = found.volume
    return ForeignDisk(
        name=seen.name,
        path=seen.path,
        capacity_mb=-(-seen.capacity // 2**20),
        backing=seen.backing,
        fingerprint=f"{seen.capacity}:{seen.physical}:{found.modified or '-'}",
    )


def _frozen_at(domain: libvirt.virDomain, live_path: str) -> int | None:
    """Return when a snapshot made this file the live one, in seconds since 1970."""
    for snapshot in domain.listAllSnapshots(0):
        recorded = read_xml(snapshot.getXMLDesc(0))
        for disk in recorded.iterfind("disks/disk"):
            source = disk.find("source")
            external = disk.get("snapshot") == "external"
            if external and source is not None and source.get("file") == live_path:
                return int(recorded.findtext("creationTime") or 0)
    return None
