"""An allocation: the claim of one sandbox on one host, the ledger's only truth."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from scheduler.model.resources import Resources


class AllocationState(StrEnum):
    """A claim is charged in every one of its states until it is released and gone."""

    CLAIMED = "claimed"
    ACTIVE = "active"
    RELEASING = "releasing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """What one sandbox holds on one host; memory includes the hypervisor's overhead (MiB)."""

    sandbox_id: str
    host_id: str
    pool: str
    vcpus: int
    memory_mb: int
    storage_mb: int
    anti_affinity_group: str | None = None
    state: AllocationState = AllocationState.CLAIMED
    claimed_at: datetime

    @property
    def resources(self) -> Resources:
        """Return the amounts charged to the host."""
        return Resources(vcpus=self.vcpus, memory_mb=self.memory_mb, storage_mb=self.storage_mb)
