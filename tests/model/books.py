"""What the store says before and after one commit, read in the very transaction that commits.

Nothing can come between: whatever a unit of work writes is judged as it becomes durable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from scheduler.errors import NotFound
from scheduler.model import (
    Allocation,
    Decision,
    Event,
    HostResources,
    Sandbox,
    Snapshot,
    Volume,
)
from scheduler.store import Transaction

Claim = tuple[str, str]
"""The ids of a sandbox and of the host that it has a claim on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The rows that the invariants speak of."""

    sandboxes: Mapping[str, Sandbox]
    """The live ones."""
    allocations: Mapping[Claim, Allocation]
    hosts: Mapping[str, HostResources]
    volumes: tuple[Volume, ...]
    snapshots: Mapping[str, Snapshot]
    """Those of live sandboxes."""
    snapshots_in_all: int
    latest_event: int

    def snapshots_of(self, sandbox_id: str) -> list[Snapshot]:
        """Return a sandbox's snapshots."""
        return [one for one in self.snapshots.values() if one.sandbox_id == sandbox_id]

    def volumes_of(self, sandbox: Sandbox) -> list[Volume]:
        """Return what is listed for a sandbox where it is."""
        here = (sandbox.id, sandbox.host_id)
        return [one for one in self.volumes if (one.owner, one.host_id) == here]

    @classmethod
    def read(cls, tx: Transaction) -> Books:
        sandboxes = tx.sandboxes.live()
        snapshots = [one for box in sandboxes for one in tx.snapshots.of_sandbox(box.id)]
        return cls(
            sandboxes={one.id: one for one in sandboxes},
            allocations={(one.sandbox_id, one.host_id): one for one in tx.allocations.all()},
            hosts={host.id: host for host in tx.hosts.all()},
            volumes=tx.volumes.all(),
            snapshots={one.id: one for one in snapshots},
            snapshots_in_all=sum(tx.snapshots.counts().values()),
            latest_event=tx.events.latest(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One unit of work: what was true, what is true, and what was told of the difference."""

    before: Books
    after: Books
    events: tuple[Event, ...]
    buried: Mapping[str, Sandbox]
    """The records that were live before and are not any more."""
    decisions: Mapping[Claim, Decision | None]
    """Of each claim that is new, the decision that its sandbox names."""
    lease_now: datetime
    """The time that leases were counted in when the unit began."""
    boottime: float

    @property
    def made(self) -> tuple[Allocation, ...]:
        """Return the claims that are new."""
        old = self.before.allocations
        return tuple(one for key, one in self.after.allocations.items() if key not in old)

    @property
    def released(self) -> tuple[Allocation, ...]:
        """Return the claims that are gone."""
        new = self.after.allocations
        return tuple(one for key, one in self.before.allocations.items() if key not in new)

    def changed(self) -> tuple[tuple[Sandbox, Sandbox], ...]:
        """Return each record that was live before, as it was and as it is, where it differs."""
        now = {**self.buried, **self.after.sandboxes}
        pairs = ((old, now[old.id]) for old in self.before.sandboxes.values())
        return tuple((old, new) for old, new in pairs if old != new)

    def told(self, sandbox_id: str, *, kind: str = "", reason: str = "") -> bool:
        """Return whether an event of this commit is about the sandbox, of that kind and reason."""
        return any(
            one.sandbox_id == sandbox_id
            and (not kind or one.kind == kind)
            and (not reason or one.reason_code == reason)
            for one in self.events
        )


def commit_of(
    before: Books, tx: Transaction, *, lease_now: datetime, boottime: float
) -> Commit | None:
    """Return what a unit has written since `before`; None when it wrote nothing of interest."""
    after = Books.read(tx)
    if after == before:
        return None
    gone = before.sandboxes.keys() - after.sandboxes.keys()
    made = after.allocations.keys() - before.allocations.keys()
    return Commit(
        before=before,
        after=after,
        events=tx.events.find(before.latest_event),
        buried={id: tx.sandboxes.get(id) for id in gone},
        decisions={claim: _decision(tx, after.sandboxes.get(claim[0])) for claim in made},
        lease_now=lease_now,
        boottime=boottime,
    )


def _decision(tx: Transaction, sandbox: Sandbox | None) -> Decision | None:
    try:
        return tx.decisions.get((sandbox.decision_id if sandbox else None) or "")
    except NotFound:
        return None
