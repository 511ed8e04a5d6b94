"""What races are about: our domain on libvirt's test driver, and a fault that is of no state."""

from __future__ import annotations

import libvirt

from scheduler.hosts import DomainPlan, Keyring
from scheduler.model.hosts import VirtType
from tests.hosts.interleaved import libvirt_error

UUID = "118918d4-1948-5170-83c1-c35854a3d51b"
MIB = 2**20
KEYRING = Keyring([b"k" * 32], "c")
PLAN = DomainPlan(
    uuid=UUID,
    name="sbx-1",
    vcpus=1,
    memory_mb=64,
    mac="52:54:00:a3:d5:1b",
    network="default",
    virt_type=VirtType.TEST,
    pool="default",
    overlay="sbx-1.qcow2",
    mark_document={"sandbox_id": "SBX-1", "domain_uuid": UUID},
)


def other_fault() -> libvirt.libvirtError:
    """Return an error that stands for no state of anything."""
    return libvirt_error(libvirt.VIR_FROM_QEMU, libvirt.VIR_ERR_INTERNAL_ERROR)
