"""The records as metrics need them, read now and then and kept as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from scheduler.clock import Clock
from scheduler.lifecycle.health import STALE_AFTER_SECONDS
from scheduler.model import (
    Drain,
    HostResources,
    HostState,
    Image,
    Replica,
    SandboxState,
    SshAuthority,
)
from scheduler.store import Condition, Store, Transaction

MOST_EXPIRED = 1000
"""Counting further would cost more than the number is worth: something is very wrong by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSnapshot:
    """What the store held at one moment."""

    taken_at: datetime | None = None
    """None until the store has been read once."""
    hosts: tuple[HostResources, ...] = ()
    sandboxes: Mapping[tuple[str | None, SandboxState], int] = field(default_factory=dict)
    """Live sandboxes by host id and state."""
    drains: tuple[Drain, ...] = ()
    """Those in progress."""
    expired: int = 0
    """Sandboxes whose lease is over and on whose end nobody has acted yet."""
    authorities: tuple[SshAuthority, ...] = ()
    """The SSH authorities that are not retired."""
    guests_by_authority: Mapping[str, int] = field(default_factory=dict)
    """How many live guests trust each, by its fingerprint."""
    images: tuple[Image, ...] = ()
    replicas: tuple[Replica, ...] = ()
    stale_after_seconds: float = STALE_AFTER_SECONDS
    """Facts about a host older than this place nothing there."""
    store: Condition = field(default_factory=Condition)
    """What the database last said of itself: as of now, even when it cannot be read."""


class Snapshots:
    """Keeps the latest snapshot; `refresh` is the pass of a loop."""

    def __init__(
        self, store: Store, clock: Clock, *, stale_after_seconds: float = STALE_AFTER_SECONDS
    ) -> None:
        self._store = store
        self._stale_after = stale_after_seconds
        self._clock = clock
        self._latest = MetricsSnapshot()

    def latest(self) -> MetricsSnapshot:
        """Return the snapshot taken last, with the condition of the store now."""
        return replace(self._latest, store=self._store.condition)

    async def refresh(self) -> None:
        """Read the store once."""
        self._latest = await self._store.read(self._take)

    def _take(self, tx: Transaction) -> MetricsSnapshot:
        now = self._clock.now()
        hosts = tx.hosts.readable()
        draining = (tx.drains.active(h.id) for h in hosts if h.state is HostState.DRAINING)
        return MetricsSnapshot(
            taken_at=now,
            stale_after_seconds=self._stale_after,
            hosts=hosts,
            sandboxes=tx.sandboxes.counts(),
            drains=tuple(drain for drain in draining if drain is not None),
            authorities=tuple(one for one in tx.ssh_authorities.all() if not one.over),
            guests_by_authority=tx.ssh_authorities.guest_counts(),
            images=tx.images.readable(),
            replicas=tx.replicas.readable(),
            expired=len(tx.sandboxes.due(now, MOST_EXPIRED)),
        )
