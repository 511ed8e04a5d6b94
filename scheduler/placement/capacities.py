"""Filters on what a host has free: vCPUs, memory, storage, sandboxes.

What they refuse may come back when others leave, unless even the empty host would be too small.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from scheduler.placement.column import BoolColumn, IntColumn
from scheduler.placement.demand import Demand
from scheduler.placement.filter import Case, Filter, Question
from scheduler.placement.fleet import NEVER, UNLIMITED, Fleet
from scheduler.placement.sizes import told_apart


class Capacity(Filter):
    """A filter on one of the fleet's amounts: `row` of `Fleet.free` and `Fleet.limit`."""

    row: int

    @abstractmethod
    def wanted(self, demand: Demand) -> int:
        """Return how much of it the demand takes."""

    def passing(self, fleet: Fleet, question: Question) -> BoolColumn | None:
        """Return who has enough free."""
        mask = fleet.scratch.mask
        np.greater_equal(fleet.amounts[self.row], self.wanted(question.demand), mask)
        return mask

    def hopeful(self, fleet: Fleet, question: Question) -> BoolColumn | None:
        """Return who would have enough were it empty, or never said how much it has."""
        enough: BoolColumn = fleet.limit[self.row] >= self.wanted(question.demand)
        unknown: BoolColumn = fleet.seen == NEVER
        return enough | unknown

    def most(self, fleet: Fleet, question: Question) -> IntColumn | None:
        """Return how often every host has as much free."""
        wanted = self.wanted(question.demand)
        return None if wanted == 0 else np.maximum(fleet.amounts[self.row], 0) // wanted

    def need(self, question: Question) -> object:
        """Return how much is asked for."""
        return self.wanted(question.demand)

    def have(self, fleet: Fleet, question: Question) -> Sequence[object]:
        """Return how much every host has free."""
        return list(fleet.free[self.row].tolist())

    def lacking(self, case: Case, question: Question) -> object:
        """Return how much the refused host has free."""
        return case.free[self.row]


class Resource(Capacity):
    """A capacity of which a request may ask for less."""

    @abstractmethod
    def less(self, amount: int) -> str:
        """Return `amount` less of it, in words."""


class Cpu(Resource):
    """vCPUs, the host's overcommit ratio included."""

    name = "cpu"
    row = 0

    def wanted(self, demand: Demand) -> int:
        """Return the vCPUs asked for."""
        return demand.resources.vcpus

    def less(self, amount: int) -> str:
        """Return so many fewer vCPUs, in words."""
        return f"{amount} fewer vCPU{'' if amount == 1 else 's'}"

    def reason(self, case: Case, question: Question) -> str:
        """Return the vCPUs free and wanted."""
        wanted, limit = self.wanted(question.demand), case.host.limit_cpus
        if wanted > limit:
            return f"cpu {limit} in all < {wanted} wanted"
        return f"cpu {max(0, case.free[self.row])} free < {wanted} wanted"


class Memory(Resource):
    """Memory, the hypervisor's overhead included."""

    name = "memory"
    row = 1

    def wanted(self, demand: Demand) -> int:
        """Return the MiB asked for."""
        return demand.resources.memory_mb

    def less(self, amount: int) -> str:
        """Return so much less memory, in words."""
        return f"{amount} MiB less memory"

    def reason(self, case: Case, question: Question) -> str:
        """Return the memory free and wanted."""
        wanted, limit = self.wanted(question.demand), case.host.limit_memory_mb
        return f"memory {_less_than(case.free[self.row], limit, wanted)} (overhead included)"


class Storage(Resource):
    """Room in the host's pool."""

    name = "storage"
    row = 2

    def wanted(self, demand: Demand) -> int:
        """Return the MiB asked for."""
        return demand.resources.storage_mb

    def less(self, amount: int) -> str:
        """Return so much less storage, in words."""
        return f"{amount} MiB less storage"

    def reason(self, case: Case, question: Question) -> str:
        """Return the storage free and wanted."""
        wanted, limit = self.wanted(question.demand), case.host.limit_storage_mb
        return f"storage {_less_than(case.free[self.row], limit, wanted)}"


class Limits(Capacity):
    """The operator's limit on how many sandboxes a host holds."""

    name = "limits"
    row = 3

    def wanted(self, demand: Demand) -> int:
        """Return one: a demand is one sandbox."""
        return 1

    def have(self, fleet: Fleet, question: Question) -> Sequence[object]:
        """Return how many more sandboxes every host may hold; None where nothing limits them."""
        free = fleet.free[self.row].tolist()
        limit = fleet.limit[self.row].tolist()
        return [None if most == UNLIMITED else left for left, most in zip(free, limit, strict=True)]

    def reason(self, case: Case, question: Question) -> str:
        """Return the limit that is reached."""
        return f"limit of {case.host.limit_sandboxes} sandboxes reached"

    def change(self, case: Case, question: Question) -> str:
        """Return whose limit to raise."""
        return f"raise max_sandboxes of {case.host.name}"


def _less_than(free: int, limit: int, wanted: int) -> str:
    if wanted > limit:
        have, need = told_apart(limit, wanted)
        return f"{have} in all < {need} wanted"
    have, need = told_apart(max(0, free), wanted)
    return f"{have} free < {need} wanted"
