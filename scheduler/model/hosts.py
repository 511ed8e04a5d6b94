"""A libvirt host: how to reach it, what it offers, what is claimed on it, how it is.

`limit_*` is what the guarded claim compares with: `max(0, floor((total - system_reserved) * ratio)
- unmanaged)`, written by poll and edit, so that a claim never computes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from scheduler.model.resources import Resources


class HostState(StrEnum):
    """The operator's will."""

    ACTIVE = "ACTIVE"
    CORDONED = "CORDONED"
    DRAINING = "DRAINING"
    DRAINED = "DRAINED"
    REMOVING = "REMOVING"


class HostHealth(StrEnum):
    """What polling says."""

    UNKNOWN = "UNKNOWN"
    UP = "UP"
    SUSPECT = "SUSPECT"
    DOWN = "DOWN"


class Transport(StrEnum):
    """How the daemon reaches a host's libvirt."""

    UNIX = "unix"
    SSH = "ssh"
    TLS = "tls"
    TEST = "test"


class VirtType(StrEnum):
    """Which hypervisor runs the guests; `auto` is settled by a proof, never by a device file."""

    AUTO = "auto"
    KVM = "kvm"
    QEMU = "qemu"
    TEST = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """Keeps builds off a host where too many failed in a row."""

    image: str | None = None
    """Whose builds; None for every image's."""
    reason: str
    """The failure that opened it, for people."""
    openings: int = 1
    """How often in a row it opened: its pauses grow with that."""
    since: datetime
    retry_at: datetime
    """From then on it is half open: one build is let through."""
    probe: str | None = None
    """The sandbox whose build was let through last; until `retry_at` no other is."""

    def concerns(self, image: str) -> bool:
        """Return whether builds of this image are meant."""
        return self.image in (None, image)

    def bars(self, image: str, now: datetime) -> bool:
        """Return whether a build of this image is kept out now.

        A clock that was set back must not keep it open for longer than was meant.
        """
        return self.concerns(image) and self.since <= now < self.retry_at


@dataclass(frozen=True, slots=True, kw_only=True)
class HostResources:
    """A host's record; CPUs are counted, memory and storage are MiB, times aware UTC."""

    id: str
    name: str
    address: str
    total_cpus: int = 0
    total_memory_mb: int = 0
    total_storage_mb: int = 0
    reserved_cpus: int = 0
    reserved_memory_mb: int = 0
    reserved_storage_mb: int = 0
    updated_at: datetime

    generation: int = 1
    revision: int = 1
    created_at: datetime | None = None
    transport: Transport = Transport.UNIX
    uri: str | None = None
    ssh_user: str | None = None
    ssh_port: int = 22
    ssh_key: str | None = None
    ssh_known_hosts: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    pool: str = "default"
    network: str = "default"
    networks: tuple[str, ...] = ()
    """What sandboxes may ask for beside `network`, which those join that ask for none."""
    virt_type: VirtType = VirtType.AUTO
    system_reserved_cpus: int = 0
    system_reserved_memory_mb: int = 0
    system_reserved_storage_mb: int = 0
    ratio_cpu: float = 4.0
    ratio_memory: float = 1.0
    ratio_storage: float = 1.0
    max_sandboxes: int | None = None
    max_concurrent_builds: int = 4

    state: HostState = HostState.ACTIVE
    state_reason: str | None = None
    health: HostHealth = HostHealth.UNKNOWN
    health_reason: str | None = None
    health_since: datetime | None = None

    limit_cpus: int = 0
    limit_memory_mb: int = 0
    limit_storage_mb: int = 0
    limit_sandboxes: int | None = None
    reserved_sandboxes: int = 0
    unmanaged_cpus: int = 0
    unmanaged_memory_mb: int = 0
    unmanaged_storage_mb: int = 0

    host_uuid: str | None = None
    refused_host_uuid: str | None = None
    """The UUID of another machine that answers at the host's address; None once all is well."""
    libvirt_version: str | None = None
    hypervisor_version: str | None = None
    arch: str | None = None
    cpu_model: str | None = None
    proven_virt_type: VirtType | None = None
    observed_networks: tuple[str, ...] = ()
    observed_images: tuple[str, ...] = ()
    observed_pool_active: bool = False
    observed_storage_available_mb: int = 0
    observed_at: datetime | None = None
    last_seen_at: datetime | None = None
    breakers: tuple[Breaker, ...] = ()

    def offers(self, network: str) -> bool:
        """Return whether sandboxes may join this network."""
        return network == self.network or network in self.networks

    def barred(self, image: str, now: datetime) -> Breaker | None:
        """Return the breaker that keeps builds of this image off the host now."""
        return next((one for one in self.breakers if one.bars(image, now)), None)

    @property
    def limit(self) -> Resources:
        """Return the most that allocations on this host may sum up to."""
        return Resources(
            vcpus=self.limit_cpus,
            memory_mb=self.limit_memory_mb,
            storage_mb=self.limit_storage_mb,
        )

    @property
    def reserved(self) -> Resources:
        """Return the sum of this host's allocations."""
        return Resources(
            vcpus=self.reserved_cpus,
            memory_mb=self.reserved_memory_mb,
            storage_mb=self.reserved_storage_mb,
        )

    @property
    def free(self) -> Resources:
        """Return what may still be claimed; negative where a limit shrank below the claims."""
        return self.limit - self.reserved
