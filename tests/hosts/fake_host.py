"""What a host in memory holds; anybody may change it, as people and fate do on a real one."""

from __future__ import annotations

from dataclasses import dataclass, field

from scheduler.model.observations import (
    DomainState,
    ForeignDisk,
    ForeignMachine,
    ObservedVolume,
    StateReason,
)
from tests.hosts.fake_consoles import FakeConsole
from tests.hosts.fake_snapshots import FakeDisks

MIB = 2**20


@dataclass(slots=True, kw_only=True)
class FakeDomain:
    """A domain of the fake host; anybody may change it, as an operator could."""

    uuid: str
    name: str
    vcpus: int = 1
    memory_mb: int = 512
    state: DomainState = DomainState.SHUT_OFF
    reason: StateReason = StateReason.OTHER
    mac: str | None = None
    mark_xml: str | None = None
    disks: tuple[str, ...] = ()
    """The volumes that it writes to."""
    frozen: tuple[str, int] | None = None
    """The volume that a snapshot of its owner's froze, and when."""
    address: str | None = None
    console: FakeConsole | None = field(default=None, compare=False)
    """The one that somebody has open."""

    def say(self, text: bytes) -> None:
        """Print on the serial console, which is lost where nobody listens."""
        if self.console is not None:
            self.console.unread += text

    @property
    def active(self) -> bool:
        return self.state not in (DomainState.SHUT_OFF, DomainState.CRASHED)

    @property
    def starved(self) -> bool:
        return (self.state, self.reason) == (DomainState.PAUSED, StateReason.IO_ERROR)


@dataclass(slots=True, kw_only=True)
class FakeHost:
    """What the machine holds; it outlives drivers, as a host outlives the daemon."""

    host_id: str
    host_uuid: str
    cpus: int = 8
    memory_mb: int = 16384
    storage_mb: int = 100_000
    arch: str = "x86_64"
    pool: str = "default"
    pool_active: bool = True
    networks: dict[str, bool] = field(default_factory=lambda: {"default": True})
    domains: dict[str, FakeDomain] = field(default_factory=dict)
    volumes: dict[str, ObservedVolume] = field(default_factory=dict)
    contents: dict[str, bytearray] = field(default_factory=dict)
    """The bytes of those volumes that were given any."""
    streams: bool = True
    greeting: bytes = b""
    """What each guest prints as soon as a driver listens."""
    freezes: bool = True
    agents: bool = False
    disks: FakeDisks = field(default_factory=FakeDisks)
    copying: set[str] = field(default_factory=set)
    """Volumes that a disk is being copied to: the pool's own numbers stand still meanwhile."""
    full: bool = False
    """Others filled its pool."""

    @property
    def available(self) -> int:
        """Bytes that the pool has room for."""
        volumes = self.volumes.values()
        used = sum(volume.physical for volume in volumes if volume.name not in self.copying)
        return 0 if self.full else self.storage_mb * MIB - used

    def add_image(self, name: str, capacity_mb: int = 1024, physical_mb: int = 128) -> None:
        """Put a golden image into the pool."""
        self.volumes[name] = ObservedVolume(
            name=name,
            path=f"/pool/{name}",
            capacity=capacity_mb * MIB,
            physical=physical_mb * MIB,
            format="qcow2",
        )


def foreign_machine(host: FakeHost, domain: FakeDomain) -> ForeignMachine:
    """Return a domain of somebody else as a driver tells of it."""
    volume = host.volumes.get(domain.disks[0]) if domain.disks else None
    frozen, frozen_at = domain.frozen or (None, None)
    there = domain.state is DomainState.RUNNING and domain.address is not None
    return ForeignMachine(
        uuid=domain.uuid,
        name=domain.name,
        state=domain.state,
        addresses=(domain.address or "",) if there else (),
        said={"lease": "knows no address for this MAC"} if domain.active and not there else {},
        disks=len(domain.disks),
        disk=None
        if volume is None
        else ForeignDisk(
            name=volume.name,
            path=volume.path,
            capacity_mb=volume.capacity // MIB,
            backing=volume.backing,
            fingerprint=f"{volume.capacity}:{volume.physical}",
            frozen=frozen,
            frozen_at=frozen_at,
        ),
    )
