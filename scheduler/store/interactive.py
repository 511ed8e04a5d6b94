"""Interactive transactions: the same repositories behind an asynchronous face, for cold paths.

They run on SQLAlchemy's asynchronous engine. Every step runs to its end even when its caller is
cancelled, since a driver cannot be stopped half-way; the cancellation is raised right after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from scheduler.clock import Clock
from scheduler.store import faces
from scheduler.store.engines import READING
from scheduler.store.faults import driver_errors, translate, translated, uncertain
from scheduler.store.gate import Gate
from scheduler.store.statements import Statements
from scheduler.store.transaction import Transaction

T = TypeVar("T")


class AsyncTransaction:
    """A transaction whose repositories are awaited; the store begins and ends it."""

    def __init__(
        self, engine: AsyncEngine, statements: Statements, clock: Clock, gate: Gate | None
    ) -> None:
        """Make one that writes through `gate`, or only reads without one."""
        self._engine = engine
        self._gate = gate
        self._statements = statements
        self._clock = clock
        self._connection: AsyncConnection | None = None

    async def begin(self) -> None:
        """Connect, begin and, if it may write, take the writers' lock."""
        await to_its_end(self._begin())

    async def commit(self) -> None:
        """Make everything durable."""
        await to_its_end(self._commit())

    async def close(self) -> None:
        """Give the connection back; what was not committed is rolled back."""
        await to_its_end(self._close())

    async def _begin(self) -> None:
        with translated():
            self._connection = connection = await self._engine.connect()
            if self._gate is None:
                await connection.execution_options(**READING)
            await connection.begin()
            self._offer(await connection.run_sync(self._opened))

    def _opened(self, connection: Connection) -> Transaction:
        if self._gate is not None:
            self._gate.enter(connection)
        writable = self._gate is not None
        return Transaction(connection, self._statements, self._clock, writable=writable)

    def _offer(self, transaction: Transaction) -> None:
        run = self._run
        self.sandboxes = faces.SandboxesFace(run, transaction.sandboxes)
        self.hosts = faces.HostsFace(run, transaction.hosts)
        self.allocations = faces.AllocationsFace(run, transaction.allocations)
        self.volumes = faces.VolumesFace(run, transaction.volumes)
        self.decisions = faces.DecisionsFace(run, transaction.decisions)
        self.events = faces.EventsFace(run, transaction.events)
        self.idempotency = faces.IdempotencyFace(run, transaction.idempotency)
        self.outdated = faces.OutdatedFace(run, transaction.outdated)
        self.drains = faces.DrainsFace(run, transaction.drains)
        self.snapshots = faces.SnapshotsFace(run, transaction.snapshots)
        self.commands = faces.CommandsFace(run, transaction.commands)
        self.consoles = faces.ConsolesFace(run, transaction.consoles)
        self.diffs = faces.DiffsFace(run, transaction.diffs)
        self.change_sets = faces.ChangeSetsFace(run, transaction.change_sets)
        self.verifications = faces.VerificationsFace(run, transaction.verifications)
        self.publications = faces.PublicationsFace(run, transaction.publications)
        self.playbooks = faces.PlaybooksFace(run, transaction.playbooks)
        self.playbook_tasks = faces.PlaybookTasksFace(run, transaction.playbook_tasks)
        self.source_vms = faces.SourceVMsFace(run, transaction.source_vms)
        self.playbook_runs = faces.PlaybookRunsFace(run, transaction.playbook_runs)
        self.inspections = faces.InspectionsFace(run, transaction.inspections)
        self.images = faces.ImagesFace(run, transaction.images)
        self.replicas = faces.ReplicasFace(run, transaction.replicas)
        self.user_data = faces.UserDataFace(run, transaction.user_data)
        self.ssh_authorities = faces.SshAuthoritiesFace(run, transaction.ssh_authorities)
        self.ssh_certificates = faces.SshCertificatesFace(run, transaction.ssh_certificates)
        self.ssh_sessions = faces.SshSessionsFace(run, transaction.ssh_sessions)
        self.settings = faces.SettingsFace(run, transaction.settings)

    async def _run(self, call: Callable[[], T]) -> T:
        return await to_its_end(self._open().run_sync(lambda _: call()))

    async def _commit(self) -> None:
        try:
            await self._open().commit()
        except driver_errors() as error:
            raise uncertain(translate(error)) from error

    def _open(self) -> AsyncConnection:
        if self._connection is None:
            raise RuntimeError("this transaction has ended")
        return self._connection

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with translated():
                await connection.close()


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` until it is done, even when cancelled meanwhile; raise that only then."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        # Look at its error, or the loop complains that nobody did.
        with suppress(asyncio.CancelledError):
            task.exception()
        raise
