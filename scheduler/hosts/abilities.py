"""What a libvirt driver can do, for the three that hosts are made of here.

libvirt's own test driver is the real API without a hypervisor; what it lacks is written down once,
so that no verb needs to find out by failing.
"""

from __future__ import annotations

from dataclasses import dataclass

import libvirt

_UNDEFINE_ALWAYS: int = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """A capability record; `undefine_flags` is what undefine takes along."""

    state_dies_with_connection: bool
    keepalive: bool
    streams: bool
    host_uuid: bool
    hypervisor: bool
    """Runs guests: it has accelerators, network filters and domain capabilities."""
    undefine_flags: int


TEST_IN_PROCESS = Abilities(
    state_dies_with_connection=True,
    keepalive=False,
    streams=False,
    host_uuid=False,
    hypervisor=False,
    undefine_flags=_UNDEFINE_ALWAYS,
)
TEST_SERVED = Abilities(
    state_dies_with_connection=False,
    keepalive=True,
    streams=False,
    host_uuid=False,
    hypervisor=False,
    undefine_flags=_UNDEFINE_ALWAYS,
)
QEMU = Abilities(
    state_dies_with_connection=False,
    keepalive=True,
    streams=True,
    host_uuid=True,
    hypervisor=True,
    undefine_flags=_UNDEFINE_ALWAYS
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA,
)


def of_uri(uri: str) -> Abilities:
    """Return the abilities of the driver that a libvirt URI names."""
    if uri.startswith("test:"):
        return TEST_IN_PROCESS
    return TEST_SERVED if uri.startswith("test+") else QEMU
