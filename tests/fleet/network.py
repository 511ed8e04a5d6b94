"""The hosts' own network: a bridge in the root namespace, where the control node has an address.

Every fleet on the machine takes the next free bridge and with it a subnet, 10.77.N.0/24.
"""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Interface, IPv4Network
from typing import TYPE_CHECKING, Self

from tests.fleet.process import ProcessError, run

if TYPE_CHECKING:
    from tests.fleet.cleanup import Scratch

SUBNETS = list(IPv4Network("10.77.0.0/16").subnets(new_prefix=24))
FIRST_HOST_ADDRESS = 11


class Network:
    """A bridge `sbxd-brN` with 10.77.N.1; it goes when the scratch directory goes."""

    def __init__(self, number: int, scratch: Scratch) -> None:
        self._scratch = scratch
        self._number = number
        self._subnet = SUBNETS[number]
        self.bridge = f"sbxd-br{number}"

    @classmethod
    def make(cls, scratch: Scratch) -> Self:
        """Take the first bridge that nobody has; a name is taken by making it."""
        for number in range(len(SUBNETS)):
            network = cls(number, scratch)
            try:
                run("ip", "link", "add", network.bridge, "type", "bridge")
            except ProcessError as error:
                if "File exists" not in str(error):
                    raise
                continue
            scratch.undo("ip", "link", "delete", network.bridge)
            network._bring_up()
            return network
        raise ProcessError("every bridge sbxd-br0 to sbxd-br255 is taken")

    @property
    def control_address(self) -> str:
        """The control node's address, as the hosts see it."""
        return str(self._subnet[1])

    def host_address(self, index: int) -> IPv4Interface:
        """The address of the host with this index (from 0)."""
        address = self._subnet[FIRST_HOST_ADDRESS + index]
        return IPv4Interface(f"{address}/{self._subnet.prefixlen}")

    def connect(self, index: int, pid: int) -> None:
        """Give the network namespace of process `pid` an interface eth0 on this bridge."""
        port = self._port(index)
        self._scratch.undo("ip", "link", "delete", port)
        run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        run("ip", "link", "set", port, "master", self.bridge, "up")

    def disconnect(self, index: int) -> None:
        """Remove that interface, and not only when its dying namespace gets to it."""
        with suppress(ProcessError):
            run("ip", "link", "delete", self._port(index))

    def _port(self, index: int) -> str:
        return f"sbxd-{self._number}h{index + 1}"

    def _bring_up(self) -> None:
        address = f"{self.control_address}/{self._subnet.prefixlen}"
        run("ip", "address", "add", address, "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")
