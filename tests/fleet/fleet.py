"""Some real hosts that know the same image and the same key: what tests, benchmarks and demos use.

with Fleet.make() as fleet:
    fleet["h1"].virsh("list", "--all")
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from tests.fleet.cleanup import Scratch
from tests.fleet.host import Host
from tests.fleet.image import small_image
from tests.fleet.network import Network
from tests.fleet.ssh import SshAccess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Fleet:
    """Hosts h1, h2 and so on, up when made, each with `small.qcow2` in its pool `default`."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self.network = Network.make(scratch)
        self.access = SshAccess(scratch.directory)
        self.hosts: list[Host] = []

    @classmethod
    def make(cls, count: int = 2, image: Path | None = None) -> Self:
        """Start `count` hosts with `image` (default: the small one); a second or two each."""
        if os.geteuid() != 0:
            raise PermissionError("real hosts need root; -m 'not fleet' leaves their tests out")
        image = image or small_image()
        scratch = Scratch.make("fleet")
        try:
            fleet = cls(scratch)
        except BaseException:
            scratch.close()
            raise
        try:
            for index in range(count):
                fleet._add(index, image)
        except BaseException:
            fleet.close()
            raise
        return fleet

    def __getitem__(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)

    def __iter__(self) -> Iterator[Host]:
        return iter(self.hosts)

    def close(self) -> None:
        """Power every host off and remove everything."""
        for host in self.hosts:
            host.power_off()
        self._scratch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _add(self, index: int, image: Path) -> None:
        directory = self._scratch.directory / f"h{index + 1}"
        host = Host(index, directory, self.network, self.access)
        self.hosts.append(host)
        host.power_on()
        host.provision(image)
