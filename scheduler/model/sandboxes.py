"""A sandbox: a disposable virtual machine cloned from a golden image.

`state` is what has been proven and `desired_state` what was asked for; `phase` names the host work
committed but not yet proven, which is what a restarted daemon goes on with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class SandboxState(StrEnum):
    """The public state; DESTROYED is terminal."""

    CREATED = "CREATED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    DESTROYED = "DESTROYED"
    ERROR = "ERROR"


class DesiredState(StrEnum):
    """What the owner, an expiry or a drain asked for."""

    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    DESTROYED = "DESTROYED"


class Phase(StrEnum):
    """Host work that has been committed and not yet proven done."""

    BUILD = "build"
    START = "start"
    STOP = "stop"
    RESUME = "resume"
    IMAGE = "image"
    """Its disk is being kept as an image."""
    DESTROY = "destroy"
    SNAPSHOT = "snapshot"
    """Making or deleting a snapshot."""
    REVERT = "revert"
    MOVE = "move"
    """Its disk is being taken to another host."""


class OnExpire(StrEnum):
    """What happens when the lease ends."""

    DESTROY = "destroy"
    STOP = "stop"
    IMAGE = "image"
    """Stopped, its disk kept as an image, and then destroyed."""


class Ending(StrEnum):
    """Why a sandbox is to be no more: the reason code that its end goes with."""

    DELETED = "deleted"
    LEASE_EXPIRED = "lease_expired"
    IMAGED = "imaged"
    """Its lease had ended, and its disk is kept as an image."""
    DRAINED = "drained"
    REAPED = "reaped"
    """It was an orphan that nobody wanted, recorded only to be removed."""
    FORGOTTEN = "forgotten"
    """Its record was closed by an operator without proof that nothing is left."""
    FORGOTTEN_ON_HOST = "forgotten_on_host"
    """Only what its own host held was; it ends, with proof, on another that it had left."""


class Readiness(StrEnum):
    """What must be true of a guest before its sandbox is RUNNING."""

    ADDRESS = "address"
    SSH = "ssh"
    """It also proved who it is over SSH, and let the daemon in."""


class IpSource(StrEnum):
    """Who told us the address, most trusted first."""

    LEASE = "lease"
    AGENT = "agent"
    ARP = "arp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something true of a sandbox beside its state, such as `host_unreachable` or `paused`."""

    kind: str
    message: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFailure:
    """Why a sandbox that never came up on a host left it for another."""

    host_id: str
    host_name: str
    reason_code: str
    message: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """A sandbox's record; times are aware UTC, durations seconds, memory and storage MiB."""

    id: str
    job_id: str
    agent_id: str
    sandbox_name: str
    base_image: str
    network: str
    ip_address: str | None = None
    state: SandboxState
    ttl_seconds: int | None = None
    vcpus: int
    memory_mb: int
    storage_mb: int
    host_name: str | None = None
    host_address: str | None = None
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None

    desired_state: DesiredState = DesiredState.RUNNING
    phase: Phase | None = None
    generation: int = 1
    revision: int = 1
    host_id: str | None = None
    domain_uuid: str | None = None
    mac: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    auto_start: bool = True
    ssh_public_keys: tuple[str, ...] = ()
    user_data_bytes: int | None = None
    """How long its user data is; the text itself is shown to nobody, since it may hold secrets."""
    isolation: bool = False
    """Its guest and other isolated ones on its network cannot reach each other."""
    on_expire: OnExpire = OnExpire.DESTROY
    provision_timeout_seconds: int = 600
    ready: Readiness = Readiness.ADDRESS
    expires_at: datetime | None = None
    reason_code: str | None = None
    reason_message: str | None = None
    conditions: tuple[Condition, ...] = ()
    ip_source: IpSource | None = None
    ip_seen_at: datetime | None = None
    ip_gateway: str | None = None
    """The host's own address in the guest's subnet, from which what goes through it comes."""
    ssh_ca: str | None = None
    """The fingerprint of the SSH authority that its seed has the guest trust."""
    ssh_seen_at: datetime | None = None
    """When SSH answered in the present run of the guest, where that was asked for."""
    source_vm: str | None = None
    """The source VM that it was asked to be a clone of."""
    remove_secrets: bool = False
    """Whether its first boot removes what identifies the machine it was cloned from."""
    image_digest: str | None = None
    base_fingerprint: str | None = None
    """What the base volume looked like when this sandbox was built; compared before each start."""
    decision_id: str | None = None
    queued_at: datetime | None = None
    running_at: datetime | None = None
    phase_at: datetime | None = None
    attempts: int = 0
    retry_at: datetime | None = None
    failed_hosts: tuple[HostFailure, ...] = ()
    """The hosts that could not bring it up, in order; forgotten once another one did."""
    move_asked_at: datetime | None = None
    """Since when it is wished on another host; None once it is there, or nobody wishes it."""
    move_to: str | None = None
    """The name of the only host to which it is to move; None leaves that to placement."""
    move_reason: str | None = None
    move_drain_id: str | None = None
    """The drain that moves it, which takes its wish back when it is called off."""
    moved_at: datetime | None = None
    """When its host last became another one by a move, its disk with it."""

    @property
    def live(self) -> bool:
        """Return whether the sandbox may still hold anything on a host."""
        return self.state is not SandboxState.DESTROYED
