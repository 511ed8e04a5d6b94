"""Is KVM real? Proven by a machine that ends by itself, never by the presence of a device file.

A domain without disks boots its firmware, finds nothing to boot, resets and is ended by that reset:
a second and a half even under emulation. Where KVM is there but hangs or crashes its guests, with
the CPU that sandboxes get, it does not end so.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from queue import Empty, SimpleQueue

import libvirt
import structlog
from lxml import etree

from scheduler.clock import Clock
from scheduler.errors import HostTimeout
from scheduler.hosts.domain_xml import add_cpu
from scheduler.hosts.handles import Handle
from scheduler.hosts.identity import Identity
from scheduler.model.hosts import VirtType

PROOF_SECONDS = 10.0
REPEAT_SECONDS = 3600.0
"""How long "no KVM" is believed: what failed may have been repaired."""
TIMEOUTS_BELIEVED = 2
_MEMORY_MB = 32

Prove = Callable[[], Awaitable[VirtType]]

_log = structlog.get_logger()


class Accelerator:
    """One host's proof, kept for as long as the host stays the same machine."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._host_uuid: str | None = None
        self._proven: VirtType | None = None
        self._proven_at = 0.0
        self._timeouts = 0

    async def virt_type(self, identity: Identity, prove: Prove) -> VirtType:
        """Return what runs guests on this host, having it proven when that is not known."""
        if identity.host_uuid != self._host_uuid:
            self._host_uuid, self._proven, self._timeouts = identity.host_uuid, None, 0
        stale = self._clock.monotonic() - self._proven_at >= REPEAT_SECONDS
        if self._proven is None or (self._proven is VirtType.QEMU and stale):
            self._proven = await self._prove(prove)
            self._proven_at = self._clock.monotonic()
        return self._proven

    async def _prove(self, prove: Prove) -> VirtType:
        try:
            return await prove()
        except HostTimeout:
            # Once it may be the host; a KVM that hangs even the start of a guest is none.
            self._timeouts += 1
            if self._timeouts < TIMEOUTS_BELIEVED:
                raise
            return VirtType.QEMU


def prove_virt_type(handle: Handle, *, seconds: float = PROOF_SECONDS) -> VirtType:
    """Return KVM when a KVM guest ran to its end within the bound, else QEMU; blocking."""
    try:
        ended = runs_to_its_end(handle.conn, VirtType.KVM, seconds)
    except libvirt.libvirtError as error:
        if not handle.conn.isAlive():
            raise
        _log.info("host.kvm.absent", why=error.get_error_message())
        return VirtType.QEMU
    if not ended:
        _log.warning("host.kvm.hangs", seconds=seconds)
    return VirtType.KVM if ended else VirtType.QEMU


def runs_to_its_end(conn: libvirt.virConnect, virt_type: VirtType, seconds: float) -> bool:
    """Return whether a probe machine ends by its own reset in time; a crash is no such end."""
    name = f"sandboxd-probe-{secrets.token_hex(6)}"
    ends: SimpleQueue[int] = SimpleQueue()

    def changed(_conn: object, domain: libvirt.virDomain, *what: int) -> None:
        event, detail = what[0], what[1]
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED and domain.name() == name:
            ends.put(detail)

    callback = conn.domainEventRegisterAny(
        None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, changed, None
    )
    try:
        domain = conn.createXML(probe_xml(name, virt_type), libvirt.VIR_DOMAIN_START_AUTODESTROY)
        detail = ends.get(timeout=seconds)
        return bool(detail == libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN)
    except Empty:
        _remove(domain)
        return False
    finally:
        conn.domainEventDeregisterAny(callback)


def probe_xml(name: str, virt_type: VirtType) -> str:
    """Return a machine like a sandbox's whose firmware finds nothing, resets and so ends."""
    domain = etree.Element("domain", type=virt_type.value)
    etree.SubElement(domain, "name").text = name
    etree.SubElement(domain, "memory", unit="MiB").text = str(_MEMORY_MB)
    etree.SubElement(domain, "vcpu").text = "1"
    os = etree.SubElement(domain, "os")
    etree.SubElement(os, "type", machine="q35").text = "hvm"
    etree.SubElement(os, "bios", rebootTimeout="0")
    add_cpu(domain, virt_type)
    etree.SubElement(domain, "on_reboot").text = "destroy"
    devices = etree.SubElement(domain, "devices")
    etree.SubElement(devices, "controller", type="usb", model="none")
    etree.SubElement(devices, "memballoon", model="none")
    return etree.tostring(domain, encoding="unicode")


def _remove(domain: libvirt.virDomain) -> None:
    try:
        domain.destroy()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
