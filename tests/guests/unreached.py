"""Guests that nobody can log in to: those of hosts that exist in memory only."""

from __future__ import annotations

from pathlib import Path

from scheduler.clock import Clock
from scheduler.errors import HostUnreachable
from scheduler.guests.authorities import Authorities
from scheduler.guests.connections import GuestConnections
from scheduler.guests.dialling import Connection, Dialler
from scheduler.model import HostResources


async def no_way(host: HostResources) -> Connection | None:
    """Refuse to lead to a host's guests."""
    raise HostUnreachable(f"{host.name} is in memory only")


def no_guests(directory: Path, clock: Clock) -> GuestConnections:
    """Return connections of which none can be had, over an authority in this directory."""
    return GuestConnections(Authorities.open(directory), clock, dialler=Dialler(no_way))
