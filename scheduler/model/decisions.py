"""A placement decision as it is stored: what was wanted, who was chosen, who refused and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The stored answer to why and why not; the JSON documents are the placement room's."""

    id: str
    sandbox_id: str | None = None
    """None when the request was refused."""
    outcome: str
    """`placed`, `capacity_exhausted` or `constraint_impossible`."""
    policy: str
    host_id: str | None = None
    host_name: str | None = None
    demand: Mapping[str, object] = field(default_factory=dict)
    chosen: tuple[Mapping[str, object], ...] = ()
    """The chosen host and the alternates, each with name and score, best first."""
    refusals: Mapping[str, int] = field(default_factory=dict)
    """How many hosts each filter refused first."""
    nearest: tuple[Mapping[str, object], ...] = ()
    """The three nearest misses, each with filter, have and need."""
    hosts: tuple[Mapping[str, object], ...] = ()
    """Every host's first refusal, kept when refused or up to 256 hosts."""
    created_at: datetime
