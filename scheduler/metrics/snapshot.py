"""The records as metrics need them, read now and then and kept as one value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from scheduler.clock import Clock
from scheduler.hosts.calls import Calls
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
from scheduler.store import Condition, Store, Timings, Transaction

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
    timings: Timings = field(default_factory=Timings)
    """What its transactions took, as of now too."""
    calls: Calls = field(default_factory=Calls)
    """What calls to hosts took, as of now too."""
    placeable: int | None = None
    """How many more sandboxes of the default size fit; None until that was counted."""


class Snapshots:
    """Keeps the latest snapshot; `refresh` is the pass of a loop."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        calls: Calls,
        placeable: Callable[[], int],
        stale_after_seconds: float = STALE_AFTER_SECONDS,
    ) -> None:
        """Make them; `calls` is read when asked, and `placeable` asked with every refresh."""
        self._store = store
        self._calls = calls
        self._placeable = placeable
        self._stale_after = stale_after_seconds
        self._clock = clock
        self._latest = MetricsSnapshot()

    def latest(self) -> MetricsSnapshot:
        """Return the snapshot taken last, with what is kept outside of the records now."""
        store = self._store
        return replace(
            self._latest, store=store.condition, timings=store.timings, calls=self._calls
        )

    async def refresh(self) -> None:
        """Read the store once."""
        taken = await self._store.read(self._take)
        self._latest = replace(taken, placeable=self._placeable())

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
