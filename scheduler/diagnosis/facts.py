"""What the checks are told: facts that somebody else has gathered, none of them judged yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from scheduler.model import HostResources, Inventory, SshAuthority


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """A file or directory of this machine; `fault` says why it cannot be used, if so."""

    path: str
    fault: str | None = None
    missing: bool = False
    mode: int = 0
    """The permission bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SshFacts:
    """The files that an ssh connection to a host needs on this machine."""

    key: FileFacts
    known_hosts: FileFacts
    trusts_host: bool
    """Whether the known hosts have a key for the host's address and port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """A host's record, what was last seen there, and how it is reached."""

    host: HostResources
    inventory: Inventory | None = None
    """The last complete look of this daemon; None before the first, and while the host is away."""
    ssh: SshFacts | None = None
    stale_after_seconds: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgeFacts:
    """A configured forge, and the files that open it."""

    name: str
    url: str
    git: bool
    """Whether the program git is there."""
    files: tuple[FileFacts, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupFacts:
    """The backups that the daemon makes by itself."""

    directory: str
    keep: int
    """How many are kept; 0 when it makes none."""
    newest_at: datetime | None = None
    fault: str | None = None
    """Why the last one could not be made, or an old one not be removed, if so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """The control node and the daemon on it; sizes in bytes."""

    state_dir: FileFacts
    secrets: tuple[FileFacts, ...] = ()
    """Files that only their owner may read."""
    disk_free: int
    disk_size: int
    open_files: int
    most_open_files: int
    group: str | None = None
    """The group that the admin socket is meant for."""
    group_exists: bool = True
    socket: FileFacts | None = None
    """The admin socket as it is; None where that is not looked at."""
    socket_group: str = ""
    """Whose group it really has."""
    lag_seconds: float = 0.0
    stuck: tuple[str, ...] = ()
    """Parts of the daemon that do not go on, in words."""
    forges: tuple[ForgeFacts, ...] = ()
    backups: BackupFacts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFacts:
    """What the store said when it was asked."""

    fault: str | None = None
    """Why it does not write, if so."""
    remedy: str | None = None
    hosts: int = 0
    clock_steps: Mapping[datetime, float] = field(default_factory=dict)
    """When the wall clock was lately set, and by how many seconds."""
    clock_doubted_until: datetime | None = None
    """Until when nothing that is kept is removed, since the clock is suddenly far ahead."""
    unreadable: tuple[str, ...] = ()
    """What is wrong with each row that was passed over, in words."""
    authorities: tuple[SshAuthority, ...] = ()
    guests_by_authority: Mapping[str, int] = field(default_factory=dict)
    """How many live guests trust each SSH authority, by its fingerprint."""
