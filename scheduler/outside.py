"""What a daemon reaches the world through: time, the database and hosts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from scheduler.clock import Clock, SystemClock
from scheduler.control.plane import HostDrivers
from scheduler.guests.dialling import Connection
from scheduler.hosts.calls import Calls
from scheduler.hosts.drivers import Drivers
from scheduler.hosts.marks import Keyring
from scheduler.model import HostResources
from scheduler.store import Store

OpenStore = Callable[..., AbstractAsyncContextManager[Store]]


class Ways(HostDrivers, Protocol):
    """The ways to all hosts, and through them to their guests; see `hosts.drivers`."""

    @property
    def calls(self) -> Calls:
        """Return what calls to hosts took, as counted since the start; to be read only."""
        ...

    async def jump(self, host: HostResources) -> Connection | None:
        """Return the connection that a host's guests are reached through, if one is needed."""
        ...


OpenDrivers = Callable[
    [Path, Keyring, Clock, Callable[[str], None]], AbstractAsyncContextManager[Ways]
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Through what a daemon reaches time, database and hosts; proofs hand in what dies there."""

    clock: Clock = field(default_factory=SystemClock)
    open_store: OpenStore = Store.open
    open_drivers: OpenDrivers = Drivers.open
