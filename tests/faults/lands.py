"""What clusters are proven on: hosts of libvirt's test driver, or real ones that have disks.

The first are many and quick, and enough for all that is written down and asked for. What becomes of
a disk's layers only QEMU tells, with files that can be read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from tests.faults.disks import RealHost
from tests.fleet.farm import LibvirtdFarm
from tests.fleet.fleet import Fleet
from tests.fleet.furniture import furnish, furnish_real

FARM_HOSTS = 3
REAL_HOSTS = 2


class ProvenHost(Protocol):
    """A host whose libvirtd can be frozen, by its process, while the daemon dies."""

    @property
    def name(self) -> str: ...

    @property
    def uri(self) -> str: ...

    @property
    def pid(self) -> int: ...

    def resume(self) -> None: ...

    def own_end(self) -> str | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Land:
    """A kind of hosts: how some are made and furnished, and how the daemon is to use them."""

    hosts: Callable[[], AbstractContextManager[Sequence[ProvenHost]]]
    virt_type: str


@contextmanager
def _farm() -> Iterator[Sequence[ProvenHost]]:
    with LibvirtdFarm(FARM_HOSTS) as farm:
        for host in farm:
            furnish(host)
        yield farm.hosts


@contextmanager
def _fleet() -> Iterator[Sequence[ProvenHost]]:
    with Fleet.make(REAL_HOSTS) as fleet:
        for host in fleet:
            furnish_real(host)
        yield [RealHost(host) for host in fleet]


FARM = Land(hosts=_farm, virt_type="auto")
REAL = Land(hosts=_fleet, virt_type="qemu")
