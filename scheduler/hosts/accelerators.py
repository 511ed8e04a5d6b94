"""Is KVM real? Proven by a machine that ends by itself, never by the presence of a device file.

A domain without disks boots its firmware, finds nothing to boot, resets and is ended by that reset:
a second and a half even under emulation. Where KVM is there but hangs its guests, it does not end.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import libvirt
import structlog
from lxml import etree

from scheduler.clock import Clock
from scheduler.errors import HostTimeout
from scheduler.hosts.connection import Connection
from scheduler.hosts.deadlines import Verb
from scheduler.hosts.handles import Handle
from scheduler.hosts.identity import Identity
from scheduler.model.hosts import VirtType

PROOF_SECONDS = 10.0
REPEAT_SECONDS = 3600.0
"""How long "no KVM" is believed: what failed may have been repaired."""
TIMEOUTS_BELIEVED = 2
_LOOK_SECONDS = 0.1
_MEMORY_MB = 32

_log = structlog.get_logger()


class Accelerator:
    """One host's proof, kept for as long as the host stays the same machine."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._host_uuid: str | None = None
        self._proven: VirtType | None = None
        self._proven_at = 0.0
        self._timeouts = 0

    async def virt_type(self, identity: Identity, connection: Connection) -> VirtType:
        """Return what runs guests on this host, proving it when that is not known."""
        if identity.host_uuid != self._host_uuid:
            self._host_uuid, self._proven, self._timeouts = identity.host_uuid, None, 0
        now = self._clock.monotonic()
        stale = now - self._proven_at >= REPEAT_SECONDS
        if self._proven is None or (self._proven is VirtType.QEMU and stale):
            self._proven = await self._prove(connection)
            self._proven_at = self._clock.monotonic()
        return self._proven

    async def _prove(self, connection: Connection) -> VirtType:
        try:
            return await connection.call(Verb.PROBE, prove_virt_type)
        except HostTimeout:
            # Once it may be the host; a KVM that hangs even the start of a guest is none.
            self._timeouts += 1
            if self._timeouts < TIMEOUTS_BELIEVED:
                raise
            return VirtType.QEMU


def prove_virt_type(
    handle: Handle,
    *,
    seconds: float = PROOF_SECONDS,
    pause: Callable[[float], None] = time.sleep,
) -> VirtType:
    """Return KVM when a KVM guest ran to its end within the bound, else QEMU; blocking."""
    try:
        domain = handle.conn.createXML(
            probe_xml(VirtType.KVM), libvirt.VIR_DOMAIN_START_AUTODESTROY
        )
    except libvirt.libvirtError as error:
        if not handle.conn.isAlive():
            raise
        _log.info("host.kvm.absent", why=error.get_error_message())
        return VirtType.QEMU
    ended = ends(domain, seconds=seconds, pause=pause)
    if not ended:
        _log.warning("host.kvm.hangs", seconds=seconds)
        _remove(domain)
    return VirtType.KVM if ended else VirtType.QEMU


def probe_xml(virt_type: VirtType) -> str:
    """Return a machine whose firmware finds nothing, resets at once and so ends."""
    domain = etree.Element("domain", type=virt_type.value)
    etree.SubElement(domain, "name").text = f"sandboxd-probe-{secrets.token_hex(6)}"
    etree.SubElement(domain, "memory", unit="MiB").text = str(_MEMORY_MB)
    etree.SubElement(domain, "vcpu").text = "1"
    os = etree.SubElement(domain, "os")
    etree.SubElement(os, "type", machine="q35").text = "hvm"
    etree.SubElement(os, "bios", rebootTimeout="0")
    etree.SubElement(domain, "on_reboot").text = "destroy"
    devices = etree.SubElement(domain, "devices")
    etree.SubElement(devices, "controller", type="usb", model="none")
    etree.SubElement(devices, "memballoon", model="none")
    return etree.tostring(domain, encoding="unicode")


def ends(domain: libvirt.virDomain, *, seconds: float, pause: Callable[[float], None]) -> bool:
    """Return whether the transient domain ends by itself within the bound."""
    for _ in range(max(1, round(seconds / _LOOK_SECONDS))):
        try:
            if not domain.isActive():
                return True
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return True
            raise
        pause(_LOOK_SECONDS)
    return False


def _remove(domain: libvirt.virDomain) -> None:
    try:
        domain.destroy()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
