"""A snapshot of a sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class SnapshotKind(StrEnum):
    """INTERNAL lives inside the domain's disk, EXTERNAL freezes a layer."""

    INTERNAL = "INTERNAL"
    EXTERNAL = "EXTERNAL"


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
