"""Domains: define, start, stop and remove, each within one hop and only where the mark is ours.

Every verb looks the domain up by UUID and verifies its mark first. The UUID is derived from the
sandbox's id, so libvirt itself refuses a second copy on a host.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import libvirt

from scheduler.errors import HostRefused
from scheduler.hosts.descriptions import describe_domain, describe_volume
from scheduler.hosts.domain_xml import ISOLATION_SINCE, NETWORK_FILTER, Disk, Machine, domain_xml
from scheduler.hosts.failures import Failure, ObjectAbsent, meaning
from scheduler.hosts.handles import Handle
from scheduler.hosts.marks import NAMESPACE, PREFIX, Keyring, bare
from scheduler.hosts.plans import DomainPlan
from scheduler.hosts.readback import differences
from scheduler.hosts.xml_reader import read_xml


def define(handle: Handle, plan: DomainPlan, keyring: Keyring) -> None:
    """Define the planned domain; one that runs as planned already is left as it is."""
    machine = _machine(handle, plan, keyring)
    present = _look_up(handle, plan.uuid)
    if present is not None:
        _check_ours(present, keyring)
        if present.isActive():
            _check_as_planned(present, plan, machine)
            return
    domain = handle.conn.defineXMLFlags(
        domain_xml(plan, machine), libvirt.VIR_DOMAIN_DEFINE_VALIDATE
    )
    try:
        _check_as_planned(domain, plan, machine)
    except HostRefused:
        domain.undefineFlags(handle.abilities.undefine_flags)
        raise


def restate(handle: Handle, plan: DomainPlan, keyring: Keyring) -> None:
    """Define our domain anew, even while it runs: its next start goes by this, its mark at once."""
    machine = _machine(handle, plan, keyring)
    if find_ours(handle, plan.uuid, keyring) is None:
        define(handle, plan, keyring)
        return
    _check_chain(handle, plan)
    domain = handle.conn.defineXMLFlags(
        domain_xml(plan, machine), libvirt.VIR_DOMAIN_DEFINE_VALIDATE
    )
    _check_as_planned(domain, plan, machine)
    _mark_running(domain, machine.mark_xml)


def start(handle: Handle, uuid: str, keyring: Keyring) -> None:
    """Start the domain unless it is active."""
    domain = _look_up(handle, uuid)
    if domain is None:
        raise ObjectAbsent(
            f"there is no domain {uuid} to start",
            remedy="it is defined again by itself when its sandbox is to run",
            details={"domain_uuid": uuid},
        )
    _check_ours(domain, keyring)
    if domain.isActive():
        return
    try:
        domain.create()
    except libvirt.libvirtError:
        if not domain.isActive():
            raise


def shut_down(handle: Handle, uuid: str, keyring: Keyring) -> None:
    """Press the guest's power button; its agent is not asked, since a guest could hang that."""
    domain = find_ours(handle, uuid, keyring)
    if domain is None or not domain.isActive():
        return
    try:
        if handle.abilities.hypervisor:
            domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
        else:
            domain.shutdown()
    except libvirt.libvirtError:
        if domain.isActive():
            raise


def power_off(handle: Handle, uuid: str, keyring: Keyring) -> None:
    """End the domain's process at once."""
    domain = find_ours(handle, uuid, keyring)
    if domain is None or not domain.isActive():
        return
    try:
        domain.destroy()
    except libvirt.libvirtError as error:
        if meaning(error) is not Failure.ABSENT and domain.isActive():
            raise


def resume(handle: Handle, uuid: str, keyring: Keyring) -> None:
    """Go on after a failed write; one that somebody paused is left to them."""
    domain = find_ours(handle, uuid, keyring)
    if domain is None or not _starved(domain):
        return
    try:
        domain.resume()
    except libvirt.libvirtError:
        if _starved(domain):
            raise


def _starved(domain: libvirt.virDomain) -> bool:
    return tuple(domain.state()) == (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR)


def undefine(handle: Handle, uuid: str, keyring: Keyring) -> None:
    """Remove the stopped domain with its managed save, NVRAM and snapshot metadata."""
    domain = find_ours(handle, uuid, keyring)
    if domain is None:
        return
    if domain.isActive():
        raise HostRefused(
            f"the domain {uuid} still runs, and removing it now would only hide it",
            remedy="it is powered off first by itself",
            details={"domain_uuid": uuid},
        )
    try:
        domain.undefineFlags(handle.abilities.undefine_flags)
    except libvirt.libvirtError as error:
        if meaning(error) is not Failure.ABSENT:
            raise


def _look_up(handle: Handle, uuid: str) -> libvirt.virDomain | None:
    try:
        return handle.conn.lookupByUUIDString(uuid)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def find_ours(handle: Handle, uuid: str, keyring: Keyring) -> libvirt.virDomain | None:
    """Return the domain, None when there is none; refused when it does not carry our mark."""
    domain = _look_up(handle, uuid)
    if domain is not None:
        _check_ours(domain, keyring)
    return domain


def _check_ours(domain: libvirt.virDomain, keyring: Keyring) -> None:
    uuid = domain.UUIDString()
    if describe_domain(domain.XMLDesc(0), uuid, keyring).mark is None:
        raise HostRefused(
            f"the domain {uuid} does not carry our mark, so it is not touched",
            remedy="somebody defined it by hand or removed the mark; look at it on the host",
            details={"domain_uuid": uuid},
        )


def _mark_running(domain: libvirt.virDomain, mark_xml: str) -> None:
    """Put the mark into a domain that runs: defining it anew leaves it the old one till its end.

    A rebuild reads it there, and would not know of the layers that are new since.
    """
    kind, live = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_LIVE
    try:
        if domain.isActive():
            domain.setMetadata(kind, bare(mark_xml), PREFIX, NAMESPACE, live)
    except libvirt.libvirtError:
        if domain.isActive():
            raise


def _check_as_planned(domain: libvirt.virDomain, plan: DomainPlan, machine: Machine) -> None:
    found = differences(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE), plan, machine)
    if found:
        raise HostRefused(
            f"the host did not take the domain {plan.name} as planned: {'; '.join(found)}",
            remedy="a hook or another libvirt version changes definitions on this host",
            details={"domain_uuid": plan.uuid, "differences": list(found)},
        )


def _machine(handle: Handle, plan: DomainPlan, keyring: Keyring) -> Machine:
    if plan.mark_document.get("domain_uuid") != plan.uuid:
        raise HostRefused(f"the mark of {plan.name} is not for this domain")
    _check_isolation(handle, plan)
    pool = handle.conn.storagePoolLookupByName(plan.pool)
    seeded = plan.seed is not None and handle.abilities.streams
    return Machine(
        arch=handle.identity.arch,
        libvirt_release=handle.identity.libvirt_release,
        disk=_disk(pool, plan.overlay, plan.layers),
        seed=_seed(pool, plan.seed) if plan.seed and seeded else None,
        network_filter=_has_filter(handle),
        mark_xml=keyring.sign(plan.mark_document),
    )


def _check_isolation(handle: Handle, plan: DomainPlan) -> None:
    if plan.isolated and handle.identity.libvirt_release < ISOLATION_SINCE:
        since = ".".join(map(str, ISOLATION_SINCE))
        raise HostRefused(
            f"the host's libvirt cannot keep {plan.name} apart from other guests",
            remedy=f"isolation takes libvirt {since} or newer; ask for none, or another host",
        )


def _disk(pool: libvirt.virStoragePool, name: str, layers: Sequence[str]) -> Disk:
    """Return the disk with its whole chain: our layers as planned, then what the lowest is on."""
    files = [
        describe_volume(pool.storageVolLookupByName(one).XMLDesc(0)) for one in (name, *layers)
    ]
    lowest = files[-1]
    backing = [(one.volume.path, "qcow2") for one in files[1:]]
    if lowest.volume.backing is not None and lowest.backing_format is not None:
        backing.append((lowest.volume.backing, lowest.backing_format))
    return Disk(path=files[0].volume.path, format="qcow2", backing=tuple(backing))


def _check_chain(handle: Handle, plan: DomainPlan) -> None:
    """Refuse a plan whose layers lie on each other otherwise in the pool.

    QEMU goes by the definition and not by what a layer's header says: a guest would read, and write
    above, what never was its disk.
    """
    pool = handle.conn.storagePoolLookupByName(plan.pool)
    files = [
        describe_volume(pool.storageVolLookupByName(one).XMLDesc(0)).volume
        for one in (plan.overlay, *plan.layers)
    ]
    for upper, lower in pairwise(files):
        if upper.backing != lower.path:
            raise HostRefused(
                f"the layer {upper.name} lies on {upper.backing} in the pool, not on {lower.name}",
                remedy="somebody changed layers by hand; look at them on the host",
                details={"domain_uuid": plan.uuid},
            )


def _seed(pool: libvirt.virStoragePool, name: str) -> Disk:
    found = describe_volume(pool.storageVolLookupByName(name).XMLDesc(0))
    return Disk(path=found.volume.path, format="raw")


def _has_filter(handle: Handle) -> bool:
    if not handle.abilities.hypervisor:
        return False
    try:
        handle.conn.nwfilterLookupByName(NETWORK_FILTER)
    except libvirt.libvirtError as error:
        if error.get_error_code() in (
            libvirt.VIR_ERR_NO_NWFILTER,
            libvirt.VIR_ERR_NO_SUPPORT,
        ):
            return False
        raise
    return True


def running_on(handle: Handle, pool_name: str, volume: str) -> tuple[str, ...]:
    """Return the names of the running domains that have the volume for a disk."""
    pool = handle.conn.storagePoolLookupByName(pool_name)
    path = pool.storageVolLookupByName(volume).path()
    running = handle.conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
    return tuple(sorted(one.name() for one in running if _has_disk(one, pool_name, volume, path)))


def _has_disk(domain: libvirt.virDomain, pool_name: str, volume: str, path: str) -> bool:
    try:
        devices = read_xml(domain.XMLDesc(0))
    except libvirt.libvirtError:
        return False  # it ended meanwhile
    sources = devices.iterfind("devices/disk/source")
    return any(
        source.get("file") == path
        or (source.get("pool"), source.get("volume")) == (pool_name, volume)
        for source in sources
    )
