"""Bugs met while working on one host or one sandbox: recorded as events, with their tracebacks.

Recording never fails: a store that refuses must not turn one item's bug into everybody's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from scheduler.clock import Clock
from scheduler.errors import SandboxdError
from scheduler.model import Event
from scheduler.store import Store

BugReport = Callable[[str, str], Awaitable[None]]
"""Told the item and the traceback of a bug met while working on it; never raises."""

_log = structlog.get_logger("scheduler.control")


class BugRecorder:
    """Writes bugs into the journal, where operators look."""

    def __init__(self, store: Store, clock: Clock, *, parked: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._parked = parked

    async def of_sandbox(self, sandbox_id: str, traceback: str) -> None:
        """Record a bug that keeps one sandbox from going on."""
        event = self._event("sandbox.parked", "this sandbox from going on", traceback)
        await self._record(replace(event, sandbox_id=sandbox_id))

    async def of_host(self, host_id: str, traceback: str) -> None:
        """Record a bug that keeps one host from being looked at."""
        event = self._event("host.parked", "this host from being looked at", traceback)
        await self._record(replace(event, host_id=host_id))

    def _event(self, kind: str, what: str, traceback: str) -> Event:
        return Event(
            at=self._clock.now(),
            kind=kind,
            reason_code="internal_error",
            message=f"a bug in sandboxd keeps {what}; it is tried again",
            evidence={"traceback": traceback},
        )

    async def of_image(self, key: str, traceback: str) -> None:
        """Record a bug that keeps an image, perhaps on one host, from going on."""
        await self._record(self._event("image.parked", f"image {key} from going on", traceback))

    async def of_change_set(self, id: str, traceback: str) -> None:
        """Record a bug that keeps a change set, or its verification, from going on."""
        what = f"change set {id} from going on"
        await self._record(self._event("change_set.parked", what, traceback))

    async def of_publication(self, publication_id: str, traceback: str) -> None:
        """Record a bug that keeps a publication from going on."""
        what = f"publication {publication_id} from going on"
        await self._record(self._event("publication.parked", what, traceback))

    async def of_source(self, id: str, traceback: str) -> None:
        """Record a bug that keeps a source VM, or a look at one, from going on."""
        await self._record(self._event("source.parked", f"source VM {id} from going on", traceback))

    async def of_playbook_run(self, run_id: str, traceback: str) -> None:
        """Record a bug that keeps a run of a playbook from going on."""
        what = f"run {run_id} from going on"
        await self._record(self._event("playbook_run.parked", what, traceback))

    async def of_command(self, command_id: str, traceback: str) -> None:
        """Record a bug that keeps a command from being carried out."""
        event = self._event("command.parked", f"command {command_id} from going on", traceback)
        await self._record(event)

    async def _record(self, event: Event) -> None:
        self._parked()
        try:
            await self._store.submit(lambda tx: tx.events.add(event))
        except SandboxdError as error:
            _log.warning("bug not recorded", kind=event.kind, error=error.message)
