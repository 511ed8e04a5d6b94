"""What changed in a sandbox between two snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from scheduler.model.manifests import Delta, PackageChange, PackageInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceChange:
    """A service whose enablement or run state changed."""

    name: str
    enabled: bool | None = None
    state: str = ""
    """`started`, `stopped`, `restarted`, `reloaded` or empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSummary:
    """A command that ran between the two snapshots."""

    cmd: str
    exit_code: int | None
    """None when it ended without one: killed, or nobody was there to hear it."""
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeDiff:
    """The normalised change; every list is ordered."""

    files_modified: tuple[str, ...] = ()
    files_added: tuple[str, ...] = ()
    files_removed: tuple[str, ...] = ()
    packages_added: tuple[PackageInfo, ...] = ()
    packages_removed: tuple[PackageInfo, ...] = ()
    packages_changed: tuple[PackageChange, ...] = ()
    """Installed on both sides, in different versions."""
    services_changed: tuple[ServiceChange, ...] = ()
    commands_run: tuple[CommandSummary, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """A stored diff; one per ordered pair of snapshots of a sandbox."""

    id: str
    sandbox_id: str
    from_snapshot: str
    to_snapshot: str
    diff_json: ChangeDiff
    created_at: datetime
    noise: tuple[str, ...] = ()
    """The patterns that were left out beside the defaults."""
    inputs: str = ""
    """A digest of all it was computed from: with the same inputs it is the same diff."""
    delta: Delta | None = None
    """All that is different, each path with what it was and is."""
    manifests: tuple[str, ...] = ()
    """What the two manifests are kept under that it compares; they stay for as long as it does."""
