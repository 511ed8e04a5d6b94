"""Who answers on a connection: the facts that stay the same for as long as it lives.

The host's UUID is what identity is pinned by. libvirt's test driver has none, so a simulated host
is known by what its URI names; and it reports a fixed architecture instead of its node file's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from uuid import NAMESPACE_URL, uuid5

import libvirt

from scheduler.hosts.abilities import Abilities
from scheduler.hosts.xml_reader import read_xml


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A host as its libvirt introduces itself; versions are dotted."""

    host_uuid: str | None
    arch: str
    cpu_model: str | None
    libvirt_version: str
    hypervisor_version: str | None

    @property
    def libvirt_release(self) -> tuple[int, ...]:
        """Return libvirt's version as numbers that compare."""
        return tuple(int(part) for part in self.libvirt_version.split("."))


def identify(conn: libvirt.virConnect, abilities: Abilities, uri: str) -> Identity:
    """Ask a fresh connection who answers."""
    capabilities = read_xml(conn.getCapabilities())
    model = str(conn.getInfo()[0])
    arch = capabilities.findtext("host/cpu/arch") if abilities.hypervisor else model
    uuid = capabilities.findtext("host/uuid")
    if not abilities.host_uuid:
        uuid = str(uuid5(NAMESPACE_URL, _place(abilities, uri)))
    return Identity(
        host_uuid=uuid.lower() if uuid else None,
        arch=arch or model,
        cpu_model=capabilities.findtext("host/cpu/model"),
        libvirt_version=_dotted(conn.getLibVersion()),
        hypervisor_version=_dotted(conn.getVersion()) if abilities.hypervisor else None,
    )


def _place(abilities: Abilities, uri: str) -> str:
    """Return what a simulated host is known by: its node file's name, or the server's URI."""
    return PurePath(uri).name if abilities.state_dies_with_connection else uri


def _dotted(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"
