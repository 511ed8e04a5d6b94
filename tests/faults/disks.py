"""A real host and the files on it: what a layer holds is written and read without any guest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePosixPath

import libvirt
import libvirt_qemu

from tests.fleet.furniture import POOL_PATH
from tests.fleet.host import Host
from tests.fleet.process import ProcessError

BLOCKS_FROM_KIB = 130 * 1024
"""Behind the golden image, so that neither it nor a guest that boots from it is in the way."""
BLOCK_KIB = 64
_DISK = "/machine/peripheral/virtio-disk0/virtio-backend"
"""The guest's disk as QEMU itself names it."""


class RealHost:
    """A real host as proofs see it: its libvirtd, and the files of its pool."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.name = host.name

    @property
    def uri(self) -> str:
        """What libvirt's client connects to."""
        return self.host.uri

    @property
    def pid(self) -> int:
        """Its libvirtd's process, as the daemon under proof can freeze it."""
        return self.host.pid_outside("libvirtd")

    def resume(self) -> None:
        """Let a frozen libvirtd go on."""
        self.host.resume_libvirtd()

    def own_end(self) -> str | None:
        """Nothing: on a real host init would tell of a libvirtd that ended by itself."""
        return None

    def files(self) -> frozenset[str]:
        """The names of all files in the pool's directory."""
        return frozenset(path.name for path in self.host.file(POOL_PATH).iterdir())

    def chain(self, volume: str) -> list[str]:
        """The files that a volume is read from by what stands in them, itself first."""
        info = ("qemu-img", "info", "-U", "--backing-chain", "--output=json")
        said = self.host.run(*info, _path(volume))
        return [PurePosixPath(layer["filename"]).name for layer in json.loads(said)]

    def write(self, volume: str, block: int, pattern: int) -> None:
        """Write to a volume that no QEMU has open."""
        self._qemu_io(volume, [_command("write", block, pattern)])

    def write_running(self, domain: libvirt.virDomain, block: int, pattern: int) -> None:
        """Have the QEMU of a guest that runs write to its disk, and write that down.

        What it takes up from layers later is not written down by this.
        """
        _have_qemu(domain, _command("write", block, pattern))
        _have_qemu(domain, "flush")

    def reads(self, volume: str, patterns: Sequence[int]) -> bool:
        """Whether the blocks of a volume, with all below it, are of these patterns."""
        commands = [_command("read", block, pattern) for block, pattern in enumerate(patterns)]
        try:
            return "failed" not in self._qemu_io(volume, commands, "-r", "-U")
        except ProcessError:
            return False

    def _qemu_io(self, volume: str, commands: Sequence[str], *options: str) -> str:
        each = [word for command in commands for word in ("-c", command)]
        return self.host.run("qemu-io", *options, "-f", "qcow2", *each, _path(volume))


def _have_qemu(domain: libvirt.virDomain, command: str) -> None:
    hmp = libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
    said = libvirt_qemu.qemuMonitorCommand(domain, f'qemu-io -d {_DISK} "{command}"', hmp)
    assert not said.strip(), said


def _command(verb: str, block: int, pattern: int) -> str:
    return f"{verb} -P {pattern} {BLOCKS_FROM_KIB + block * BLOCK_KIB}k {BLOCK_KIB}k"


def _path(volume: str) -> str:
    return f"{POOL_PATH}/{volume}"
