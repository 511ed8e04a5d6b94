"""The loop about consoles of guests that boot."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from scheduler.clock import Clock
from scheduler.control.bugs import BugReport
from scheduler.control.console_keeper import ConsoleKeeper
from scheduler.control.vitals import Turn
from scheduler.control.workers import Workers
from scheduler.errors import SandboxdError
from scheduler.hosts.driver import HostDriver
from scheduler.model import HostResources, Sandbox, SandboxState
from scheduler.store import Store


class ConsoleLoops:
    """Listens on hosts by their id; where consoles are not wanted, on none."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        listens: bool,
        drivers: Callable[[HostResources], HostDriver],
        report_bug: BugReport,
    ) -> None:
        self._listens = listens
        self._keeper = ConsoleKeeper(store, clock, drivers=drivers)
        self._listening = Workers("consoles", self._keeper.keep, clock=clock, report_bug=report_bug)

    def wake(self, host_id: str | None) -> None:
        """Say that a guest of a host is being started there, or boots no more."""
        if self._listens and host_id is not None:
            self._listening.wake(host_id)

    def became(self, before: Sandbox, after: Sandbox) -> None:
        """Take note of a sandbox as it was and as it is: its boot may be over."""
        if before.state is SandboxState.STARTING:
            self.wake(before.host_id)

    def turns(self) -> tuple[Turn, ...]:
        """Return where every host's worker is in its turn."""
        return self._listening.turns()

    async def resume(self) -> None:
        """Go on listening to what boots still."""
        for host_id in await self._keeper.resume(listens=self._listens):
            self.wake(host_id)

    async def run(self) -> None:
        """Run until stopped, and keep what was heard by then."""
        await self._listening.run()
        with suppress(SandboxdError):
            await self._keeper.flush()

    def stop(self) -> None:
        """Listen to nobody any more after the turns that are being taken."""
        self._listening.stop()
