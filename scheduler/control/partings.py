"""Parting from hosts that are gone: their connections are closed beside all loops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

_log = structlog.get_logger("scheduler.control")


class Partings:
    """The partings under way; each takes as long as its host hangs."""

    def __init__(self, forget: Callable[[str], Awaitable[None]]) -> None:
        self._forget = forget
        self._under_way: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        """Return whether any is under way."""
        return bool(self._under_way)

    def begin(self, host_id: str) -> None:
        """Part from a host; one that fails is told and no more, as the host is gone anyway."""
        parting = asyncio.create_task(self._part(host_id), name=f"part {host_id}")
        self._under_way.add(parting)
        parting.add_done_callback(self._under_way.discard)

    async def ended(self) -> None:
        """Return once none is under way."""
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def _part(self, host_id: str) -> None:
        try:
            await self._forget(host_id)
        except Exception:
            _log.exception("connections not closed", host=host_id)
