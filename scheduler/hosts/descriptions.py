"""What domains and volumes say of themselves, read from their XML and their state numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import libvirt
from lxml import etree

from scheduler.hosts.marks import ELEMENT, Forgery, Keyring
from scheduler.hosts.threads import Turn
from scheduler.hosts.xml_reader import read_xml
from scheduler.model.observations import (
    DomainState,
    Mark,
    ObservedDomain,
    ObservedVolume,
    StateReason,
)

STATES: Mapping[int, DomainState] = {
    libvirt.VIR_DOMAIN_RUNNING: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: DomainState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: DomainState.SHUTTING_DOWN,
    libvirt.VIR_DOMAIN_SHUTOFF: DomainState.SHUT_OFF,
    libvirt.VIR_DOMAIN_CRASHED: DomainState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: DomainState.SUSPENDED,
}

REASONS: Mapping[tuple[int, int], StateReason] = {
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER): StateReason.USER,
    (
        libvirt.VIR_DOMAIN_PAUSED,
        libvirt.VIR_DOMAIN_PAUSED_IOERROR,
    ): StateReason.IO_ERROR,
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_CRASHED): StateReason.CRASHED,
    **{
        (libvirt.VIR_DOMAIN_PAUSED, passing): StateReason.TRANSIENT
        for passing in (
            libvirt.VIR_DOMAIN_PAUSED_MIGRATION,
            libvirt.VIR_DOMAIN_PAUSED_SAVE,
            libvirt.VIR_DOMAIN_PAUSED_DUMP,
            libvirt.VIR_DOMAIN_PAUSED_FROM_SNAPSHOT,
            libvirt.VIR_DOMAIN_PAUSED_SHUTTING_DOWN,
            libvirt.VIR_DOMAIN_PAUSED_SNAPSHOT,
            libvirt.VIR_DOMAIN_PAUSED_STARTING_UP,
            libvirt.VIR_DOMAIN_PAUSED_POSTCOPY,
        )
    },
    (
        libvirt.VIR_DOMAIN_SHUTOFF,
        libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN,
    ): StateReason.GUEST_SHUTDOWN,
    (
        libvirt.VIR_DOMAIN_SHUTOFF,
        libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED,
    ): StateReason.KILLED,
    (
        libvirt.VIR_DOMAIN_SHUTOFF,
        libvirt.VIR_DOMAIN_SHUTOFF_CRASHED,
    ): StateReason.CRASHED,
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_FAILED): StateReason.CRASHED,
    (
        libvirt.VIR_DOMAIN_CRASHED,
        libvirt.VIR_DOMAIN_CRASHED_UNKNOWN,
    ): StateReason.CRASHED,
    (
        libvirt.VIR_DOMAIN_CRASHED,
        libvirt.VIR_DOMAIN_CRASHED_PANICKED,
    ): StateReason.CRASHED,
}


_READING = Turn()
"""Held while a document is read: threads that compute take turns at one interpreter, and of a
hundred hosts met at once each would have as many turns as the event loop and the store together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainDescription:
    """What a domain's XML says; it changes only when somebody changes the definition."""

    vcpus: int
    memory_mb: int
    mark: Mark | None
    forged: bool


def describe_domain(xml: str, uuid: str, keyring: Keyring) -> DomainDescription:
    """Return the size and the verified mark that a domain's XML gives."""
    with _READING:
        return _domain_described(xml, uuid, keyring)


def _domain_described(xml: str, uuid: str, keyring: Keyring) -> DomainDescription:
    domain = read_xml(xml)
    element = domain.find(f"metadata/{ELEMENT}")
    mark = (
        None if element is None else keyring.read(etree.tostring(element, encoding="unicode"), uuid)
    )
    return DomainDescription(
        vcpus=int(domain.findtext("vcpu") or 1),
        memory_mb=-(-amount_bytes(domain.find("memory")) // 2**20),
        mark=mark if isinstance(mark, Mark) else None,
        forged=isinstance(mark, Forgery),
    )


def observed(
    domain: libvirt.virDomain, state: int, reason: int, description: DomainDescription
) -> ObservedDomain:
    """Return a domain as the rules want to see it."""
    return ObservedDomain(
        uuid=domain.UUIDString(),
        name=domain.name(),
        state=STATES.get(state, DomainState.UNKNOWN),
        reason=REASONS.get((state, reason), StateReason.OTHER),
        vcpus=description.vcpus,
        memory_mb=description.memory_mb,
        mark=description.mark,
        forged=description.forged,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeDescription:
    """A volume's XML: what is observed of it, and what identifies its content."""

    volume: ObservedVolume
    backing_format: str | None
    modified: str | None


def describe_volume(xml: str) -> VolumeDescription:
    """Return what a volume's XML says."""
    with _READING:
        return _volume_described(xml)


def _volume_described(xml: str) -> VolumeDescription:
    volume = read_xml(xml)
    allocation = amount_bytes(volume.find("allocation"))
    physical = volume.find("physical")
    backing = volume.find("backingStore")
    return VolumeDescription(
        volume=ObservedVolume(
            name=volume.findtext("name") or "",
            path=volume.findtext("target/path") or volume.findtext("key") or "",
            capacity=amount_bytes(volume.find("capacity")),
            physical=allocation if physical is None else amount_bytes(physical),
            format=_format(volume.find("target")),
            backing=None if backing is None else backing.findtext("path"),
        ),
        backing_format=_format(backing),
        modified=volume.findtext("target/timestamps/mtime"),
    )


def _format(element: etree._Element | None) -> str | None:
    found = None if element is None else element.find("format")
    return None if found is None else found.get("type")


_UNITS: Mapping[str, int] = {
    "b": 1,
    "bytes": 1,
    "k": 2**10,
    "KiB": 2**10,
    "M": 2**20,
    "MiB": 2**20,
    "G": 2**30,
    "GiB": 2**30,
}


def amount_bytes(element: etree._Element | None) -> int:
    """Return a scaled amount in bytes; libvirt answers in bytes or KiB, whatever it was told."""
    if element is None or not element.text:
        return 0
    return int(element.text) * _UNITS[element.get("unit", "bytes")]
