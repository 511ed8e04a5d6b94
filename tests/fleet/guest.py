"""A guest made by hand, as somebody else on the host would: what sandboxd must call foreign.

Also the shortest way to see a host and the image work together: a linked clone, a NoCloud seed, a
domain. All its waits are on what the host says, with a limit fit for two busy cores.
"""

from __future__ import annotations

import io
import subprocess
from ipaddress import IPv4Interface
from typing import TYPE_CHECKING

import pycdlib

from tests.fleet.host import IMAGES
from tests.fleet.process import RUN_LIMIT_S, ProcessError, run, wait_until

if TYPE_CHECKING:
    from tests.fleet.host import Host
    from tests.fleet.ssh import SshAccess

BOOT_LIMIT_S = 180.0
SHUTDOWN_LIMIT_S = 180.0
LOOK_EVERY_S = 0.25
SHUT_OFF = "shut off"
# Emulation's own cache of translated code would grow to 1 GiB a guest.
DOMAIN = """\
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>{memory_mib}</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/><tcg><tb-cache unit='MiB'>64</tb-cache></tcg></features>
  <cpu mode='maximum'/>
  <devices>
    <disk type='volume' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source pool='default' volume='{name}.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='volume' device='disk'>
      <driver name='qemu' type='raw'/>
      <source pool='default' volume='{name}-seed.iso'/>
      <target dev='vdb' bus='virtio'/>
      <readonly/>
    </disk>
    <interface type='network'>
      <source network='default'/>
      <model type='virtio'/>
    </interface>
    <serial type='file'><source path='{log}'/></serial>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='virtio'/>
  </devices>
</domain>
"""


class Guest:
    """A domain on a host, with its two volumes; root logs in with the fleet's key."""

    def __init__(self, host: Host, name: str, access: SshAccess) -> None:
        self.host = host
        self.name = name
        self._access = access

    def define(self, *, base: str = "small.qcow2", memory_mib: int = 128) -> None:
        """Make the clone of `base`, the seed and the domain; nothing runs yet."""
        volumes = f"{IMAGES}/{self.name}"
        self.host.run(
            *("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2"),
            *("-b", f"{IMAGES}/{base}", f"{volumes}.qcow2"),
        )
        seed = self.host.file(f"{volumes}-seed.iso")
        seed.write_bytes(nocloud_seed(self.name, self._access.public_key))
        self.host.virsh("pool-refresh", self.host.pool)
        definition = self.host.file(f"/run/{self.name}.xml")
        log = f"/var/log/libvirt/{self.name}.console"
        definition.write_text(DOMAIN.format(name=self.name, memory_mib=memory_mib, log=log))
        self.host.virsh("define", "--validate", f"/run/{self.name}.xml")

    def start(self) -> None:
        """Power it on; returns at once."""
        self.host.virsh("start", self.name)

    def state(self) -> str:
        """libvirt's word for its state, such as `running` or `shut off`."""
        return self.host.virsh("domstate", self.name).strip()

    def leased_address(self) -> str | None:
        """The address that the network's DHCP server gave it, if it has."""
        fields = self.host.virsh("domifaddr", self.name, "--source", "lease").split()
        return str(IPv4Interface(fields[-1]).ip) if fields else None

    def wait_for_ssh(self, limit_s: float = BOOT_LIMIT_S) -> str:
        """Its address, once it answers SSH there."""
        what = f"SSH on {self.name}"
        wait_until(self._answers, what=what, limit_s=limit_s, every_s=LOOK_EVERY_S)
        address = self.leased_address()
        assert address is not None, f"{self.name} answers but its lease is gone"
        return address

    def run(self, *argv: str, limit_s: float = RUN_LIMIT_S) -> str:
        """Run a shell command in the guest, through the host; `ProcessError` if it fails."""
        address = self.leased_address()
        if address is None:
            raise ProcessError(f"{self.name} has no lease")
        ssh = self._access.guest_argv(self.host.address, address)
        return run(*ssh, *argv, limit_s=limit_s)

    def wait_until_shut_off(self, limit_s: float = SHUTDOWN_LIMIT_S) -> None:
        """Return once libvirt says that it is off."""
        wait_until(
            lambda: self.state() == SHUT_OFF,
            what=f"shutdown of {self.name}",
            limit_s=limit_s,
            every_s=LOOK_EVERY_S,
        )

    def console(self) -> str:
        """What the guest wrote to its serial console."""
        return self.host.file(f"/var/log/libvirt/{self.name}.console").read_text(errors="replace")

    def remove(self) -> None:
        """Destroy the domain if it runs, and remove it and its volumes."""
        if self.state() != SHUT_OFF:
            self.host.virsh("destroy", self.name)
        self.host.virsh("undefine", self.name, "--remove-all-storage")

    def _answers(self) -> bool:
        try:
            self.run("true", limit_s=30)
        except (ProcessError, subprocess.TimeoutExpired):
            return False
        return True


def nocloud_seed(name: str, public_key: str) -> bytes:
    """An ISO 9660 image labelled cidata, names by Rock Ridge, as cloud-init reads it."""
    user_data = f'#cloud-config\nssh_authorized_keys:\n  - "{public_key}"\n'
    meta_data = f"instance-id: {name}\nlocal-hostname: {name}\n"
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, vol_ident="cidata", rock_ridge="1.09")
    for file, text in (("user-data", user_data), ("meta-data", meta_data)):
        content = text.encode()
        plain = file.replace("-", "").upper()
        iso.add_fp(io.BytesIO(content), len(content), f"/{plain}.;1", rr_name=file)
    image = io.BytesIO()
    iso.write_fp(image)
    iso.close()
    return image.getvalue()
