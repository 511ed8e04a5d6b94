"""A snapshot of a sandbox: a named point to which it can be reverted.

The row is the intent and the record at once: it is written before anything happens on a host, and
its state says what is still to be done there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class SnapshotKind(StrEnum):
    """INTERNAL lives inside the domain's disk, EXTERNAL freezes a layer."""

    INTERNAL = "INTERNAL"
    EXTERNAL = "EXTERNAL"


class SnapshotState(StrEnum):
    """What is true of a snapshot, or being made true."""

    CREATING = "CREATING"
    READY = "READY"
    REVERTING = "REVERTING"
    DELETING = "DELETING"
    FAILED = "FAILED"
    """It cannot be reverted to and holds nothing that is not listed; it can be deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A named point of a sandbox; `ref` names the frozen point, never the live layer."""

    id: str
    sandbox_id: str
    name: str
    kind: SnapshotKind
    ref: str
    created_at: datetime
    meta_json: str | None = None

    state: SnapshotState = SnapshotState.READY
    parent: str | None = None
    """The id of the snapshot that the sandbox stood on when this one was made."""
    current: bool = False
    """Whether the sandbox stands on it: made last, or reverted to last."""
    files: tuple[str, ...] = ()
    """The volumes of ours that the frozen point is read from, the newest layer first."""
    memory: bool = False
    """Whether the guest's memory is part of it."""
    quiesced: bool = False
    """Whether the guest's agent held its file systems still."""
    claim_mb: int = 0
    """Storage claimed for it beside the sandbox's own (MiB)."""
    manifest_wanted: bool = False
    manifest_ref: str | None = None
    reason: str | None = None
    """Why it failed, or what could not be done for it."""
    updated_at: datetime | None = None

    @property
    def unfinished(self) -> bool:
        """Return whether something is still to be done for it on a host."""
        return self.state not in (SnapshotState.READY, SnapshotState.FAILED)
