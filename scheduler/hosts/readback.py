"""Reading a definition back: what libvirt made of it against what was planned.

libvirt drops what it does not know and adds what it thinks is needed. What carries safety (who the
domain is, which files and networks it touches, the mark) must be exactly as planned.
"""

from __future__ import annotations

from lxml import etree

from scheduler.hosts.descriptions import amount_bytes
from scheduler.hosts.domain_xml import Disk, Machine
from scheduler.hosts.marks import ELEMENT
from scheduler.hosts.plans import DomainPlan
from scheduler.hosts.xml_reader import read_xml

_HARMLESS = frozenset(
    {
        "audio",
        "channel",
        "console",
        "controller",
        "disk",
        "emulator",
        "input",
        "interface",
        "memballoon",
        "panic",
        "rng",
        "serial",
        "watchdog",
    }
)
"""Devices that we plan or that libvirt adds by itself; those we plan are compared one by one."""


def differences(xml: str, plan: DomainPlan, machine: Machine) -> tuple[str, ...]:
    """Return how the definition differs from the plan where it matters; empty when it does not."""
    domain = read_xml(xml)
    devices = domain.find("devices")
    if devices is None:
        return ("it has no devices",)
    facts: tuple[tuple[str, object, object], ...] = (
        ("type", domain.get("type"), plan.virt_type.value),
        ("uuid", domain.findtext("uuid"), plan.uuid),
        ("name", domain.findtext("name"), plan.name),
        ("vCPUs", domain.findtext("vcpu"), str(plan.vcpus)),
        ("memory", amount_bytes(domain.find("memory")), plan.memory_mb * 2**20),
        ("mark", _mark(domain), read_xml(machine.mark_xml).text),
        ("disks", _disks(devices), _planned_disks(machine)),
        ("interfaces", _interfaces(devices), [(plan.mac.lower(), plan.network, plan.isolated)]),
        ("channels", _channels(devices), ["unix"]),
        ("other devices", sorted(_tags(devices) - _HARMLESS), []),
    )
    return tuple(
        f"{what} is {found!r} instead of {wanted!r}"
        for what, found, wanted in facts
        if found != wanted
    )


def _mark(domain: etree._Element) -> str | None:
    return domain.findtext(f"metadata/{ELEMENT}")


def _tags(devices: etree._Element) -> set[str]:
    return {str(device.tag) for device in devices}


def _disks(devices: etree._Element) -> list[list[tuple[str, str]]]:
    return [_chain(disk) for disk in devices.findall("disk")]


def _chain(disk: etree._Element) -> list[tuple[str, str]]:
    """Return the files of a disk with their formats, the live one first."""
    driver = disk.find("driver")
    files = [_file(disk, "" if driver is None else driver.get("type", ""))]
    layer = disk.find("backingStore")
    while layer is not None and len(layer):
        layer_format = layer.find("format")
        files.append(_file(layer, "" if layer_format is None else layer_format.get("type", "")))
        layer = layer.find("backingStore")
    return files


def _file(element: etree._Element, layer_format: str) -> tuple[str, str]:
    source = element.find("source")
    return ("" if source is None else source.get("file", ""), layer_format)


def _planned_disks(machine: Machine) -> list[list[tuple[str, str]]]:
    disks = [machine.disk] if machine.seed is None else [machine.disk, machine.seed]
    return [_planned_chain(disk) for disk in disks]


def _planned_chain(disk: Disk) -> list[tuple[str, str]]:
    return [(disk.path, disk.format), *disk.backing]


def _interfaces(devices: etree._Element) -> list[tuple[str, str, bool]]:
    found = []
    for interface in devices.findall("interface"):
        mac, source = interface.find("mac"), interface.find("source")
        port = interface.find("port")
        found.append(
            (
                "" if mac is None else mac.get("address", "").lower(),
                "" if source is None else source.get("network", ""),
                port is not None and port.get("isolated") == "yes",
            )
        )
    return found


def _channels(devices: etree._Element) -> list[str]:
    return [channel.get("type", "") for channel in devices.findall("channel")]
