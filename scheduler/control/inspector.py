"""Takes looks at source VMs: one item is one inspection, and nothing of a machine is changed.

A look that a death cut short is taken again by the next daemon. Whatever was asked for passes the
grammar once more before it is run: a record is no reason to believe it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from scheduler import ids
from scheduler.clock import Clock
from scheduler.control.source_places import Drivers, place_of
from scheduler.errors import Conflict, GuestError, HostError, NotFound
from scheduler.guests.execution import Ended, Order, execute
from scheduler.guests.outputs import Stream
from scheduler.guests.source_ways import SourceWays
from scheduler.guests.wrapper import Invocation
from scheduler.model import CommandStatus, Event, Inspection, InspectionStatus
from scheduler.model.commands import text_of
from scheduler.service.errands import LiveOutput
from scheduler.sources.preparations import from_json
from scheduler.sources.programs import inspection_fault
from scheduler.store import Store, Transaction

SURROUNDINGS = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
    "PAGER": "cat",
    "SYSTEMD_PAGER": "cat",
}
"""All that a program finds in its environment: no pager, no language, no programs of others."""


class Inspector:
    """Works on one inspection at a time; `Workers` sees to it that nobody else does."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        drivers: Drivers,
        ways: SourceWays,
        output_bytes: int,
        told: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._drivers = drivers
        self._ways = ways
        self._output_bytes = output_bytes
        self._told = told

    async def inspect(self, inspection_id: str) -> float | None:
        """Take a look and record what it found; None when it is over."""
        try:
            asked = await self._store.read(lambda tx: tx.inspections.get(inspection_id))
        except NotFound:
            return None
        if not asked.waiting:
            return None
        output = LiveOutput(self._output_bytes)
        try:
            ended = await self._run(asked, output)
        except (GuestError, HostError) as error:
            await self._finish(replace(asked, status=InspectionStatus.FAILED, reason=error.message))
            return None
        output.close()
        await self._finish(_ended(asked, output, ended))
        return None

    async def pending(self) -> tuple[str, ...]:
        """Return the ids of the inspections that have not ended."""
        return tuple(one.id for one in await self._store.read(lambda tx: tx.inspections.waiting()))

    async def _run(self, asked: Inspection, output: LiveOutput) -> Ended:
        fault = inspection_fault(asked.argv)
        if fault is not None:
            raise GuestError(f"this is no command that only looks: {fault}")
        source = await self._store.read(lambda tx: tx.source_vms.get(asked.source_id))
        preparation = from_json(source.prepare_json)
        if preparation is None or not source.prepared:
            raise GuestError(f"{asked.host_name}/{asked.name} is not prepared any more")
        place = await place_of(self._store, self._drivers, source, preparation)
        order = Order(
            id=ids.new_id(ids.Prefix.COMMAND),
            invocation=Invocation(argv=asked.argv, env=SURROUNDINGS, work_dir="/"),
            timeout_seconds=asked.timeout_seconds,
        )
        async with self._ways.as_onlooker(replace(place, expected_key=None)) as entered:
            return await execute(entered.connection, order, output.take)

    async def _finish(self, inspection: Inspection) -> None:
        ended = replace(inspection, ended_at=self._clock.now())
        with suppress(Conflict):  # whoever ended it first saw it
            await self._store.submit(partial(self._write, ended))
        self._told()

    def _write(self, ended: Inspection, tx: Transaction) -> None:
        tx.inspections.finish(ended)
        tx.events.add(
            Event(
                at=self._clock.now(),
                kind="source.inspected",
                actor="sandboxd",
                reason_code=ended.status.value.lower(),
                message=f"a look at {ended.host_name}/{ended.name} by {ended.actor}: "
                f"{ended.reason or f'it ended with exit code {ended.exit_code}'}",
                evidence={"inspection_id": ended.id, "source_id": ended.source_id},
            )
        )


def _ended(asked: Inspection, output: LiveOutput, ended: Ended) -> Inspection:
    exited = ended.status is CommandStatus.EXITED
    reasons = {
        CommandStatus.TIMED_OUT: f"its {asked.timeout_seconds} s were up",
        CommandStatus.INTERRUPTED: "the connection broke while it ran",
    }
    return replace(
        asked,
        status=InspectionStatus.DONE if exited else InspectionStatus.FAILED,
        exit_code=ended.exit_code,
        reason=None if exited else reasons.get(ended.status, ended.status.lower()),
        stdout=text_of(output.kept(Stream.STDOUT)),
        stderr=text_of(output.kept(Stream.STDERR)),
        stdout_bytes=output.written_bytes(Stream.STDOUT),
        stderr_bytes=output.written_bytes(Stream.STDERR),
        truncated=output.truncated,
        redacted=output.found(),
    )
