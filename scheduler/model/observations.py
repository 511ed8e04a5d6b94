"""What a host was seen to hold: facts with their time, never conclusions.

Rules compare these with the records. A domain's `mark` is present only when its signature and its
UUID were verified, so a foreign or forged domain can never be mistaken for ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from scheduler.model.hosts import VirtType
from scheduler.model.sandboxes import IpSource


class DomainState(StrEnum):
    """libvirt's domain states, folded to what the rules distinguish."""

    RUNNING = "running"
    PAUSED = "paused"
    SHUTTING_DOWN = "shutting_down"
    SHUT_OFF = "shut_off"
    CRASHED = "crashed"
    SUSPENDED = "suspended"
    UNKNOWN = "unknown"


class StateReason(StrEnum):
    """Why a domain is in its state, folded to what the rules distinguish."""

    USER = "user"
    IO_ERROR = "io_error"
    TRANSIENT = "transient"
    """Paused by starting up, save, snapshot or migration: says nothing."""
    GUEST_SHUTDOWN = "guest_shutdown"
    KILLED = "killed"
    CRASHED = "crashed"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A verified ownership mark read from a domain's metadata."""

    key_id: str
    cluster_id: str
    sandbox_id: str
    domain_uuid: str
    text: str
    """Everything signed, as JSON: a tenth of what the objects in it would take, which are kept for
    every domain and needed only when a lost database is rebuilt."""

    @property
    def document(self) -> Mapping[str, object]:
        """Return what was signed, read anew."""
        document: dict[str, object] = json.loads(self.text)
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedDomain:
    """One domain as the host tells it; memory is the maximum, in MiB."""

    uuid: str
    name: str
    state: DomainState
    reason: StateReason = StateReason.OTHER
    vcpus: int = 0
    memory_mb: int = 0
    mark: Mark | None = None
    forged: bool = False
    """A mark is there and does not verify: foreign, and worth an alert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedVolume:
    """One volume of a pool; sizes in bytes."""

    name: str
    path: str
    capacity: int
    physical: int
    format: str | None = None
    backing: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedPool:
    """A storage pool; sizes in bytes."""

    name: str
    active: bool
    capacity: int = 0
    allocation: int = 0
    available: int = 0
    volumes: tuple[ObservedVolume, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """One complete look at a host; made whole or not at all (a failed look raises)."""

    host_id: str
    begun_at: float
    """Monotonic seconds when the look began: it says nothing of mutations ended later."""
    seen_at: datetime
    host_uuid: str | None
    libvirt_version: str
    hypervisor_version: str | None = None
    arch: str
    cpu_model: str | None = None
    total_cpus: int
    total_memory_mb: int
    virt_type: VirtType
    pool: ObservedPool | None
    """The host's configured pool; None when the host has none of that name."""
    networks: Mapping[str, bool]
    """Network names and whether each is active."""
    domains: tuple[ObservedDomain, ...]
    _by_uuid: Mapping[str, ObservedDomain] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Each of a host's sandboxes looks its own up, after every look.
        by_uuid = {domain.uuid: domain for domain in self.domains}
        object.__setattr__(self, "_by_uuid", by_uuid)

    def domain(self, uuid: str | None) -> ObservedDomain | None:
        """Return the domain of this UUID; None when it was not seen, or there is no UUID."""
        return None if uuid is None else self._by_uuid.get(uuid)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressReport:
    """What each source said of a guest's address; `refused` are those outside the network."""

    address: str | None = None
    source: IpSource | None = None
    gateway: str | None = None
    """The host's own address in the subnet that the address lies in."""
    refused: tuple[str, ...] = ()
    said: Mapping[str, str] = field(default_factory=dict)
    """Source to its answer or its error, for the message when none has an address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignDisk:
    """A disk of a machine that is not ours, as a volume of its host's pool."""

    name: str
    path: str
    capacity_mb: int
    """What its guest sees as the disk's size."""
    backing: str | None = None
    fingerprint: str
    """What changes when somebody writes to it, if not at once."""
    frozen: str | None = None
    """The volume below it that a snapshot of its owner's froze."""
    frozen_at: int | None = None
    """When that was, in seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignMachine:
    """A machine that is not ours, looked at and not touched."""

    uuid: str
    name: str
    state: DomainState
    addresses: tuple[str, ...] = ()
    """Where it answers, as its host knows; empty when it is off."""
    said: Mapping[str, str] = field(default_factory=dict)
    """What each source said of that."""
    disks: int = 1
    """How many disks it writes to."""
    disk: ForeignDisk | None = None
    """The first of them; None when the host's pool does not have it."""


class Listening(StrEnum):
    """How it stands with the console of a domain of ours."""

    OPEN = "open"
    OFF = "off"
    """The domain does not run, or is not there."""
    REFUSED = "refused"
    """The host does not give it, mostly because somebody else has it."""
    UNSUPPORTED = "unsupported"
    """The host's driver has no consoles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a domain printed on its console since it was last listened to, and how that stands."""

    listening: Listening
    data: bytes = b""
    opened: bool = False
    """It was opened by this call: what was printed before is not known."""
    why: str | None = None
    """Why it is not open, in the host's words."""
