"""Domain XML from a whitelist: what a sandbox's machine has, and nothing else.

Text is placed by lxml, so that no name can become an element. Disks are named by the path that the
pool gave for a volume, not by pool and volume: the path is what can be compared when the definition
is read back, and snapshots and migration work with it on every libvirt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lxml import etree

from scheduler.hosts.plans import DomainPlan
from scheduler.hosts.xml_reader import read_xml
from scheduler.model.hosts import VirtType

NETWORK_FILTER = "clean-traffic"
"""libvirt's own filter against guests that fake their MAC, IP or ARP."""
TRANSLATION_CACHE_MB = 64
"""What QEMU's emulation may use for translated code; by itself it takes up to a gigabyte."""
DISK_TARGET = "vda"
"""What the guest's own disk is called; the seed is the other one."""
AGENT_CHANNEL = "org.qemu.guest_agent.0"

_MACHINES: Mapping[str, str] = {"x86_64": "q35", "aarch64": "virt"}
_TRANSLATION_CACHE_SINCE = (8, 0, 0)
ISOLATION_SINCE = (6, 1, 0)
"""The first libvirt that keeps the ports of a bridge apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk's file on the host."""

    path: str
    format: str
    backing: tuple[tuple[str, str], ...] = ()
    """What lies below it, the nearest first: each file and its format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What of the domain the host decides: resolved paths and what its libvirt can do."""

    arch: str
    libvirt_release: tuple[int, ...]
    disk: Disk
    seed: Disk | None
    network_filter: bool
    mark_xml: str


def domain_xml(plan: DomainPlan, machine: Machine) -> str:
    """Return the definition of the planned domain on this machine."""
    domain = etree.Element("domain", type=plan.virt_type.value)
    _add(domain, "name", plan.name)
    _add(domain, "uuid", plan.uuid)
    _add(domain, "metadata").append(read_xml(machine.mark_xml))
    _add(domain, "memory", str(plan.memory_mb), unit="MiB")
    _add(domain, "currentMemory", str(plan.memory_mb), unit="MiB")
    _add(domain, "vcpu", str(plan.vcpus), placement="static")
    _add_firmware(domain, machine.arch)
    _add_features(domain, plan, machine)
    add_cpu(domain, plan.virt_type)
    _add(domain, "clock", offset="utc")
    for event, action in (
        ("on_poweroff", "destroy"),
        ("on_reboot", "restart"),
        ("on_crash", "destroy"),
    ):
        _add(domain, event, action)
    _add_devices(domain, plan, machine)
    return etree.tostring(domain, encoding="unicode")


def _add_firmware(domain: etree._Element, arch: str) -> None:
    os = _add(domain, "os")
    machine = _MACHINES.get(arch)
    _add(os, "type", "hvm", arch=arch, **({"machine": machine} if machine else {}))
    _add(os, "boot", dev="hd")


def _add_features(domain: etree._Element, plan: DomainPlan, machine: Machine) -> None:
    features = _add(domain, "features")
    _add(features, "acpi")
    limited = machine.libvirt_release >= _TRANSLATION_CACHE_SINCE
    if plan.virt_type is VirtType.QEMU and limited:
        tcg = _add(features, "tcg")
        _add(tcg, "tb-cache", str(TRANSLATION_CACHE_MB), unit="MiB")


def add_cpu(domain: etree._Element, virt_type: VirtType) -> None:
    """Add the CPU that fits the hypervisor: the host's own under KVM, all of QEMU's otherwise."""
    if virt_type is VirtType.KVM:
        _add(domain, "cpu", mode="host-passthrough", check="none", migratable="on")
    elif virt_type is VirtType.QEMU:
        _add(domain, "cpu", mode="maximum")


def _add_devices(domain: etree._Element, plan: DomainPlan, machine: Machine) -> None:
    devices = _add(domain, "devices")
    _add_disk(devices, machine.disk, target=DISK_TARGET)
    if machine.seed is not None:
        seed = _add_disk(devices, machine.seed, target="vdb")
        _add(seed, "readonly")
    _add(devices, "controller", type="usb", model="none")
    _add_interface(devices, plan, machine)
    serial = _add(devices, "serial", type="pty")
    _add(serial, "target", port="0")
    console = _add(devices, "console", type="pty")
    _add(console, "target", type="serial", port="0")
    channel = _add(devices, "channel", type="unix")
    _add(channel, "target", type="virtio", name=AGENT_CHANNEL)
    _add(devices, "memballoon", model="virtio")
    rng = _add(devices, "rng", model="virtio")
    _add(rng, "backend", "/dev/urandom", model="random")


def _add_disk(devices: etree._Element, disk: Disk, target: str) -> etree._Element:
    """Add a virtio disk whose whole chain is stated, so that QEMU follows no other reference."""
    element = _add(devices, "disk", type="file", device="disk")
    _add(element, "driver", name="qemu", type=disk.format)
    _add(element, "source", file=disk.path)
    chain = element
    for path, layer_format in disk.backing:
        chain = _add(chain, "backingStore", type="file")
        _add(chain, "format", type=layer_format)
        _add(chain, "source", file=path)
    _add(chain, "backingStore")
    _add(element, "target", dev=target, bus="virtio")
    return element


def _add_interface(devices: etree._Element, plan: DomainPlan, machine: Machine) -> None:
    interface = _add(devices, "interface", type="network")
    _add(interface, "mac", address=plan.mac)
    _add(interface, "source", network=plan.network)
    _add(interface, "model", type="virtio")
    if plan.isolated:
        _add(interface, "port", isolated="yes")
    if machine.network_filter:
        _add(interface, "filterref", filter=NETWORK_FILTER)


def _add(
    parent: etree._Element, tag: str, text: str | None = None, **attributes: str
) -> etree._Element:
    element = etree.SubElement(parent, tag, attributes)
    element.text = text
    return element
