"""The steps that a judgement may order, as values; a loop carries out one and judges again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from scheduler.model import DesiredState, SandboxState


class ConditionKind(StrEnum):
    """What is true of a sandbox beside its state."""

    HOST_UNREACHABLE = "host_unreachable"
    FOREIGN_DOMAIN = "foreign_domain"
    PAUSED = "paused"
    FAILING = "failing"
    """The last host call for this sandbox failed; the message says how."""
    ADDRESS_REFUSED = "address_refused"
    """The guest named only addresses outside its network; they are never dialled."""
    SSH_SILENT = "ssh_silent"
    """The guest is to answer over SSH and has not yet; the message says how it failed."""
    LEAVING = "leaving"
    """It is destroyed but for what a host that failed to build it may still hold."""
    EXPIRED = "expired"
    """The lease ended and stopped the sandbox; its next end destroys it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How often and how long to try; seconds."""

    build_attempts: int = 3
    build_hosts: int = 3
    """Hosts that may try to bring a sandbox up, each so often, before it is given up."""
    start_attempts: int = 3
    shutdown_seconds: float = 60
    """A guest that has not shut down after this long is powered off."""
    resume_room_mb: int = 64
    """What a pool that was full must have free before the guests it stopped go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Barred:
    """A host builds nothing of this kind for now: builds there kept failing."""

    message: str
    probing: bool
    """One build was let through, and how it ends will soon be known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Do nothing now; `message` says what is being waited for."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """Make volumes and domain, as far as they are missing; do not start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start the domain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutDown:
    """Ask the guest to shut down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerOff:
    """End the domain's process without asking the guest; the domain stays defined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Let the guest go on that its host paused after a failed disk write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """Keep the disk as an image, however long that takes; then its end may be its destruction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Go on with taking it to another host: see that there is one, copy its disk, go there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TearDown:
    """Power off, undefine, delete every listed volume, prove all gone, then bury and release."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeekAddress:
    """Ask lease, agent and ARP for the guest's address and record what is found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrySsh:
    """Log in to the guest and record that it answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Become:
    """Write another public state, proven by what was seen."""

    state: SandboxState
    reason_code: str
    reason_message: str
    desired: DesiredState | None = None
    """The desired state to write with it; None leaves it."""
    address_lost: bool = False
    """The guest that had the recorded address runs no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Record a condition; nothing else changes."""

    kind: ConditionKind
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Clear:
    """Remove conditions that hold no longer; nothing else changes."""

    kinds: tuple[ConditionKind, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relocate:
    """Claim another host and come up there; the present one failed for this reason."""

    reason_code: str
    reason_message: str
    otherwise: Become | Note | Wait
    """What to do when no other host takes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """Make a snapshot on the host."""

    snapshot_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Revert:
    """Bring the domain back to a snapshot."""

    snapshot_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard:
    """Take the next step in removing what the host keeps for a snapshot."""

    snapshot_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """Record that what was asked of a snapshot cannot be done, and why."""

    snapshot_id: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What was seen is what was asked for, or only its owner can say how to go on."""


Step = (
    Wait
    | Build
    | Start
    | ShutDown
    | PowerOff
    | Resume
    | Capture
    | Move
    | TearDown
    | SeekAddress
    | TrySsh
    | Become
    | Note
    | Clear
    | Relocate
    | Freeze
    | Revert
    | Discard
    | GiveUp
    | Settled
)
