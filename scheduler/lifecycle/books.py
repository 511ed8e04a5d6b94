"""What an audit compares: what the store says, by host, and what was last seen of each host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from scheduler.model import Allocation, HostResources, Inventory, Sandbox, Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnesses:
    """What was last seen of one host; `age_seconds` is how old the latest listing is."""

    latest: Inventory | None = None
    previous: Inventory | None = None
    age_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """Where live sandboxes are, both ways, so that no host has to look through all of them."""

    homes: Mapping[str, frozenset[str]]
    """The hosts on which each live sandbox may be: those that hold its allocations."""
    recorded: Mapping[str, Sequence[Sandbox]]
    """By host, those whose record names it."""
    held: Mapping[str, Sequence[Sandbox]]
    """By host, those that may be there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the store says at one moment, which must be later than the listings'."""

    hosts: Sequence[HostResources]
    sandboxes: Mapping[str, Sandbox]
    """The live ones, by id."""
    allocations: Sequence[Allocation]
    volumes: Mapping[str, Sequence[Volume]]
    """By host."""
    tombstones: Mapping[str, datetime]
    """When each destroyed sandbox that a listing names was buried."""

    def whereabouts(self) -> Whereabouts:
        """Return where the live sandboxes are: to be asked once, as it looks through them all."""
        homes: dict[str, set[str]] = {sandbox_id: set() for sandbox_id in self.sandboxes}
        for allocation in self.allocations:
            if allocation.sandbox_id in homes:
                homes[allocation.sandbox_id].add(allocation.host_id)
        recorded: dict[str, list[Sandbox]] = {}
        held: dict[str, list[Sandbox]] = {}
        for sandbox in self.sandboxes.values():
            if sandbox.host_id is not None:
                recorded.setdefault(sandbox.host_id, []).append(sandbox)
            for host_id in homes[sandbox.id]:
                held.setdefault(host_id, []).append(sandbox)
        return Whereabouts(
            homes={sandbox_id: frozenset(hosts) for sandbox_id, hosts in homes.items()},
            recorded=recorded,
            held=held,
        )
