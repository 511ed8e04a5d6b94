"""Players of plays that end as they are told to, for tests of what asks for plays."""

from __future__ import annotations

import asyncio

from scheduler.errors import GuestUnreachable
from scheduler.guests.playbook_players import PlayEnd, PlayOrder
from scheduler.model import HostResources, PlayStatus, Recap, Sandbox

WELL = PlayEnd(status=PlayStatus.SUCCEEDED, recap=Recap(ok=2, changed=1), reason=None, log="ok")


class Guests:
    """Players of plays: each sandbox's ends as it is told to, or never."""

    def __init__(self) -> None:
        self.ends: dict[str, PlayEnd | None] = {}
        self.held: dict[str, asyncio.Event] = {}
        """Who plays on until this is set."""
        self.away: set[str] = set()
        self.broken: set[str] = set()
        self.orders: list[tuple[str, PlayOrder]] = []

    async def play(self, order: PlayOrder, sandbox: Sandbox, _host: HostResources) -> PlayEnd:
        self.orders.append((sandbox.sandbox_name, order))
        if sandbox.sandbox_name in self.away:
            raise GuestUnreachable("the guest does not answer")
        if sandbox.sandbox_name in self.held:
            await self.held[sandbox.sandbox_name].wait()
        if sandbox.sandbox_name in self.broken:
            raise ZeroDivisionError
        end = self.ends.get(sandbox.sandbox_name, WELL)
        if end is None:
            await asyncio.Event().wait()
        assert end is not None
        return end
