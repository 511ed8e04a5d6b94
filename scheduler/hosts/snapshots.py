"""Snapshots inside a domain's disk, and new layers on top of it: what libvirt does of each.

The first kind is libvirt's own and kept by it. Of layers it is told to remember nothing, since 9.0
could not go back to one: which file lies on which is our record, stated in the domain's definition.
"""

from __future__ import annotations

from pathlib import PurePosixPath

import libvirt
import structlog
from lxml import etree

from scheduler.errors import HostRefused
from scheduler.hosts import volumes
from scheduler.hosts.domain_xml import AGENT_CHANNEL, DISK_TARGET
from scheduler.hosts.domains import find_ours
from scheduler.hosts.failures import ObjectAbsent, ObjectBusy
from scheduler.hosts.handles import Handle
from scheduler.hosts.marks import Keyring
from scheduler.hosts.xml_reader import read_xml

AGENT_SECONDS = 10
"""How long a guest's agent may take to hold its file systems still; a guest could hang it."""
IDLE_LOOKS = 5
"""A merge that has ended may show its effect only after so many looks: libvirt says first that no
job is left, and restates the disk when it comes to hear why."""
MERGES_SINCE = (6, 0, 0)
"""The first libvirt whose block jobs are named by nodes, as these need it."""
FLUSH_NAMESPACE = "urn:sandboxd:flush:1"
"""Of the note at a running domain that a pause of it is ours, and is to end."""

_FREEZE: int = (
    libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
    | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
    | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
)

_log = structlog.get_logger()


def take(handle: Handle, uuid: str, keyring: Keyring, name: str) -> bool:
    """Keep the disk, and the memory of a guest that runs; return whether memory was kept."""
    domain = _present(handle, uuid, keyring)
    found = _find(domain, name)
    if found is not None and handle.abilities.hypervisor:
        # QEMU's driver lists a snapshot as it begins to make it, and strikes it off if that fails.
        _check_settled(handle, domain, f"the snapshot {name} of the domain {uuid} is being made")
        found = _find(domain, name)
    if found is None:
        found = domain.snapshotCreateXML(_internal_xml(domain, name), 0)
    return read_xml(found.getXMLDesc(0)).findtext("state") == "running"


def revert(handle: Handle, uuid: str, keyring: Keyring, name: str) -> None:
    """Bring the domain back to where it was."""
    domain = _present(handle, uuid, keyring)
    found = _find(domain, name)
    if found is None:
        raise ObjectAbsent(
            f"the domain {uuid} has no snapshot {name} on its host any more",
            remedy="somebody removed it there, or the domain was defined anew; delete the snapshot",
            details={"domain_uuid": uuid},
        )
    domain.revertToSnapshot(found, 0)


def delete(handle: Handle, uuid: str, keyring: Keyring, name: str) -> None:
    """Remove one snapshot and no other; one that is gone already is fine."""
    domain = find_ours(handle, uuid, keyring)
    found = None if domain is None else _find(domain, name)
    if found is not None:
        found.delete(0)


def live_layer(handle: Handle, uuid: str, keyring: Keyring) -> str | None:
    """Return the volume that the domain writes to, or will; None when there is no domain."""
    domain = find_ours(handle, uuid, keyring)
    return None if domain is None else PurePosixPath(_chain(domain)[0]).name


def settled_layer(handle: Handle, uuid: str, keyring: Keyring) -> str | None:
    """Return the same once no job is on the domain; raises ObjectBusy while one is.

    A call that nobody waits for any more may be putting the guest on another layer just now.
    """
    domain = find_ours(handle, uuid, keyring)
    if domain is None:
        return None
    _check_settled(handle, domain, f"the disk of the domain {uuid} is being worked on")
    return PurePosixPath(_chain(domain)[0]).name


def freeze(handle: Handle, pool: str, uuid: str, keyring: Keyring, layer: str) -> bool:
    """Have the guest write to a new layer from now on; return whether it was held still for it.

    Of a domain that is off only the layer is made: its definition is stated anew by the caller.
    """
    domain = _present(handle, uuid, keyring)
    # A call of a daemon that died may be freezing it still: that one's layer must not go, and what
    # the guest writes to is asked only after it.
    _check_settled(handle, domain, f"the disk of the domain {uuid} is being worked on")
    live = PurePosixPath(_chain(domain)[0])
    if live.name == layer:
        if volumes.find_volume(handle, pool, layer) is None:  # the pool was busy after it was made
            volumes.refresh(handle, pool)
        return False
    if not domain.isActive():
        volumes.create_layer(handle, pool, layer, live.name)
        return False
    _check_able(handle)
    volumes.refresh(handle, pool)
    volumes.delete_volume(handle, pool, layer)
    quiet = _freeze(domain, str(live.with_name(layer)))
    volumes.refresh(handle, pool)
    return quiet


def merge(
    handle: Handle,
    uuid: str,
    keyring: Keyring,
    pair: tuple[str, str],
    begun: dict[str, int],
    *,
    runs: bool,
) -> bool:
    """Bring the lower of two layers, on which the upper alone lies, nearer to being one with it.

    Return whether they are. The live one takes up the other, and of two that are not live the lower
    does; what is read through any other layer stays as it was. A domain that is off is started for
    it without running a single instruction of its guest; the caller powers it off. ObjectBusy says
    that it is off though it `runs` for all that the caller knows.
    """
    lower, upper = pair
    domain = _present(handle, uuid, keyring)
    chain = _chain(domain)
    top = PurePosixPath(chain[0])
    below, above = str(top.with_name(lower)), str(top.with_name(upper))
    gone = below if above == chain[0] else above
    job = f"{uuid}/{lower}"
    if gone not in chain:
        begun.pop(job, None)
        return True
    _check_able(handle)
    if not domain.isActive():
        if runs:
            raise ObjectBusy(
                f"the guest of the domain {uuid} has ended meanwhile",
                remedy="this goes on by itself when its end has been recorded",
            )
        domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    if domain.blockJobInfo(DISK_TARGET, 0):
        return False
    if job in begun:
        look_once_more(job, begun)
        return False
    begun[job] = 0
    if above == chain[0]:
        domain.blockRebase(DISK_TARGET, chain[chain.index(below) + 1], 0, 0)
    else:
        domain.blockCommit(DISK_TARGET, below, above, 0, 0)
    return False


def flush(handle: Handle, uuid: str, keyring: Keyring) -> bool:
    """Have the hypervisor write down what the domain's disk holds in memory; return whether it did.

    QEMU does so as it stops a guest's processors, which go on at once; without the guest's help
    libvirt knows no other way. A pause of ours that was cut short is told from anybody else's by a
    note, and ends with the next call. One that somebody else paused is theirs, and stays as it is.
    One that is off has nothing to write, and one starved of room cannot.
    """
    domain = _present(handle, uuid, keyring)
    state, reason = domain.state()
    if (state, reason) == (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER):
        if not _is_noted(domain):
            return False
        domain.resume()
    elif state != libvirt.VIR_DOMAIN_RUNNING:
        return True
    _note(domain, "<pause/>")
    try:
        domain.suspend()
    finally:
        if domain.isActive():
            domain.resume()
    _note(domain, None)
    return True


def look_once_more(job: str, begun: dict[str, int]) -> None:
    """Refuse when this very merge was begun, has ended, and still shows no effect."""
    begun[job] += 1
    if begun[job] > IDLE_LOOKS:
        del begun[job]
        raise HostRefused(
            "the layers were not merged: the host's hypervisor gave up",
            remedy="the pool may be full; make room there and delete the snapshot again",
        )


def _check_able(handle: Handle) -> None:
    release = handle.identity.libvirt_release
    if not handle.abilities.hypervisor or release < MERGES_SINCE:
        raise HostRefused(
            "this host's libvirt cannot freeze or merge the layers of a disk",
            remedy=f"use an internal snapshot, or libvirt {MERGES_SINCE[0]}.0 and newer with QEMU",
        )


def _freeze(domain: libvirt.virDomain, path: str) -> bool:
    xml = _external_xml(domain, path)
    if _agent_answers(domain):
        try:
            domain.agentSetResponseTimeout(AGENT_SECONDS, 0)
            domain.snapshotCreateXML(xml, _FREEZE | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE)
        except libvirt.libvirtError as error:
            _log.info("host.snapshot.not_quiesced", why=error.get_error_message())
            if path in _chain(domain):
                return False  # the layer was made, and only thawing failed
        else:
            return True
    domain.snapshotCreateXML(xml, _FREEZE)
    return False


def _is_noted(domain: libvirt.virDomain) -> bool:
    kind, live = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_LIVE
    try:
        domain.metadata(kind, FLUSH_NAMESPACE, live)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
            return False
        raise
    return True


def _note(domain: libvirt.virDomain, note: str | None) -> None:
    kind, live = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_LIVE
    domain.setMetadata(kind, note, "sandboxd-flush", FLUSH_NAMESPACE, live)


def _agent_answers(domain: libvirt.virDomain) -> bool:
    targets = read_xml(domain.XMLDesc(0)).iterfind("devices/channel/target")
    return any(
        target.get("name") == AGENT_CHANNEL and target.get("state") == "connected"
        for target in targets
    )


def _present(handle: Handle, uuid: str, keyring: Keyring) -> libvirt.virDomain:
    domain = find_ours(handle, uuid, keyring)
    if domain is None:
        raise ObjectAbsent(
            f"there is no domain {uuid}",
            remedy="its sandbox says why",
            details={"domain_uuid": uuid},
        )
    return domain


def _check_settled(handle: Handle, domain: libvirt.virDomain, busy: str) -> None:
    """Raise ObjectBusy while a job is on the domain; only a hypervisor's take any time."""
    if handle.abilities.hypervisor and _is_worked_on(domain):
        raise ObjectBusy(
            f"{busy} still", remedy="it is looked at again by itself until that has ended"
        )


def _is_worked_on(domain: libvirt.virDomain) -> bool:
    """Return whether a job on the domain is under way, be its guest running or not.

    The first question is answered at once, and says nothing between two steps of a job. To answer
    the second libvirt takes its turn after the job; in half a minute it gives up.
    """
    control = (libvirt.VIR_DOMAIN_CONTROL_JOB, libvirt.VIR_DOMAIN_CONTROL_OCCUPIED)
    job = (libvirt.VIR_DOMAIN_JOB_BOUNDED, libvirt.VIR_DOMAIN_JOB_UNBOUNDED)
    for ask, at_work in ((domain.controlInfo, control), (domain.jobInfo, job)):
        try:
            state = ask()[0]
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_OPERATION_TIMEOUT:
                return True
            if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
                raise
            continue  # its guest is off
        if state in at_work:
            return True
    return False


def _find(domain: libvirt.virDomain, name: str) -> libvirt.virDomainSnapshot | None:
    try:
        return domain.snapshotLookupByName(name, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT:
            return None
        raise


def _chain(domain: libvirt.virDomain) -> list[str]:
    """Return the files of the guest's disk, the live one first."""
    disk = read_xml(domain.XMLDesc(0)).find(f"devices/disk/target[@dev='{DISK_TARGET}']/..")
    if disk is None:
        raise HostRefused(
            f"the domain {domain.UUIDString()} has no disk {DISK_TARGET}",
            remedy="somebody changed its definition; look at it on its host",
        )
    layers: list[str] = []
    layer: etree._Element | None = disk
    while layer is not None:
        source = layer.find("source")
        if source is not None and (file := source.get("file")) is not None:
            layers.append(file)
        layer = layer.find("backingStore")
    return layers


def _internal_xml(domain: libvirt.virDomain, name: str) -> str:
    snapshot = etree.Element("domainsnapshot")
    etree.SubElement(snapshot, "name").text = name
    disks = etree.SubElement(snapshot, "disks")
    for target in read_xml(domain.XMLDesc(0)).iterfind("devices/disk/target"):
        dev = target.get("dev", "")
        where = "internal" if dev == DISK_TARGET else "no"
        etree.SubElement(disks, "disk", name=dev, snapshot=where)
    return etree.tostring(snapshot, encoding="unicode")


def _external_xml(domain: libvirt.virDomain, path: str) -> str:
    snapshot = etree.Element("domainsnapshot")
    disks = etree.SubElement(snapshot, "disks")
    for target in read_xml(domain.XMLDesc(0)).iterfind("devices/disk/target"):
        dev = target.get("dev", "")
        if dev != DISK_TARGET:
            etree.SubElement(disks, "disk", name=dev, snapshot="no")
            continue
        disk = etree.SubElement(disks, "disk", name=dev, snapshot="external", type="file")
        etree.SubElement(disk, "driver", type="qcow2")
        etree.SubElement(disk, "source", file=path)
    return etree.tostring(snapshot, encoding="unicode")
