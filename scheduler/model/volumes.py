"""A volume we made, or are about to make, in a host's pool.

The row is written before the volume is created, and only volumes with a row are ever deleted: that
list, not a guess by name, is what destroying a sandbox removes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class VolumeRole(StrEnum):
    """What a volume is for."""

    OVERLAY = "overlay"
    SEED = "seed"
    IMAGE = "image"
    """A replica of a golden image."""
    DISK = "disk"
    """A sandbox's whole disk, copied to become an image; it may be torn while it is PLANNED."""


class VolumeState(StrEnum):
    """PLANNED until the host has answered that it exists."""

    PLANNED = "planned"
    CREATED = "created"


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """One volume; `owner` is the sandbox's id, or the image's for a replica."""

    owner: str
    host_id: str
    pool: str
    name: str
    role: VolumeRole
    state: VolumeState = VolumeState.PLANNED
    created_at: datetime
