"""The store: one truth, one writer, many readers.

Three ways in. `submit` hands a unit of work to the one writer, which commits waiting units
together: the hot path. `read` runs a unit on a reader's connection, in one hop and on one snapshot.
`transaction` is the interactive face for cold paths. Nothing here knows a rule; the tables do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import TypeVar

from scheduler.clock import Clock, SystemClock
from scheduler.errors import ReadOnly, SandboxdError, Unavailable
from scheduler.store import engines, schema
from scheduler.store.committer import Committer, Unit
from scheduler.store.condition import Condition
from scheduler.store.config import Limits, StoreConfig
from scheduler.store.engines import Engines
from scheduler.store.faults import again, driver_errors, of_medium, translate, translated
from scheduler.store.gate import Gate
from scheduler.store.interactive import AsyncTransaction, to_its_end
from scheduler.store.statements import Statements
from scheduler.store.timings import Kind, Span, Timings
from scheduler.store.transaction import Transaction
from scheduler.store.writer import Writer

T = TypeVar("T")

_PROBED = "store.probed_at"


class Store:
    """The database handle; open it with `Store.open`."""

    def __init__(
        self, config: StoreConfig, opened: Engines, clock: Clock, limits: Limits, gate: Gate
    ) -> None:
        self.config = config
        self.timings = Timings()
        """How long transactions took and waited; to be read only."""
        self._condition = Condition()
        self._gate = None if config.read_only else gate
        self._engines = opened
        self._clock = clock
        self._limits = limits
        self._statements = Statements(opened.writer.dialect)
        self._lock = asyncio.Lock()
        self._holder: asyncio.Task[object] | None = None
        self._reading = 0
        self._readers = ThreadPoolExecutor(config.reader_conns, "store-reader")
        committer = Committer(opened.writer, self._statements, clock, gate)
        self._writer = (
            None
            if config.read_only
            else Writer(committer, self._lock, limits, clock=clock, timings=self.timings)
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls, config: StoreConfig, *, clock: Clock | None = None, limits: Limits | None = None
    ) -> AsyncIterator[Store]:
        """Connect, check or migrate the schema, and serve until the context is left.

        `Invalid` names what is wrong with the database and what to do; it is never recreated.
        """
        limits, clock = limits or Limits(), clock or SystemClock()
        opened = engines.make(config, limits)
        try:
            revision = await to_its_end(
                asyncio.to_thread(schema.ensure, opened.writer, config, now=clock.now())
            )
            store = cls(config, opened, clock, limits, Gate(revision))
            try:
                await to_its_end(asyncio.to_thread(store._open_readers))
                yield store
            finally:
                await to_its_end(store._close())
        finally:
            await to_its_end(opened.dispose())

    async def submit(self, unit: Unit[T]) -> T:
        """Return what `unit` returned, once it is durable.

        The unit must be a function of its transaction alone: it may run twice, when another of its
        batch fails. What it raises is raised here, and then nothing of it was written. A caller who
        is cancelled leaves; the unit is carried out. `Unavailable` when too many wait.
        """
        if self._writer is None:
            raise _only_reads()
        self._refuse()
        try:
            return await self._writer.submit(unit)
        except SandboxdError as error:
            if of_medium(error):
                self._condition = self._condition.wrote(error)
            raise

    async def read(self, unit: Unit[T]) -> T:
        """Return what `unit` returned, from one consistent snapshot; writing raises `ReadOnly`."""
        if self._reading >= self._limits.waiting_reads:
            raise Unavailable(f"{self._reading} reads are waiting", remedy="Try again later.")
        self._reading += 1
        span = Span(self._clock.monotonic())
        try:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._readers, self._read, unit, span)
        except SandboxdError as error:
            if of_medium(error):
                self._condition = self._condition.read(error)
            raise
        else:
            if self._condition.reading is not None:
                self._condition = self._condition.read(None)
            return found
        finally:
            self._reading -= 1
            self.timings.add(Kind.READ, span)

    @asynccontextmanager
    async def transaction(self, *, read_only: bool = False) -> AsyncIterator[AsyncTransaction]:
        """Begin an interactive transaction; commit at the end, roll back on any exception.

        A writing one keeps every other writer waiting, so keep it short and await nothing else in
        it; pass `read_only` where nothing is written.
        """
        span = Span(self._clock.monotonic())
        if read_only or self._writer is None:
            async with self._interactive(None, span) as transaction:
                yield transaction
            return
        self._refuse()
        await self._acquire()
        self._holder = asyncio.current_task()
        try:
            async with self._interactive(self._gate, span) as transaction:
                yield transaction
        finally:
            self._holder = None
            self._lock.release()

    async def ping(self) -> None:
        """Return when the database answers; `Unavailable` when it does not."""
        await self.read(lambda transaction: transaction.settings.get("ping"))

    async def ping_writer(self) -> None:
        """Return when the writer has committed a transaction of nothing."""
        await self.submit(lambda _: None)

    @property
    def condition(self) -> Condition:
        """Return what the database last said of itself."""
        return self._condition

    async def probe(self) -> None:
        """Find out whether a fault of reading or writing is over; idle when there is none."""
        if self._condition.reading is not None:
            with suppress(Unavailable, ReadOnly):
                await self.ping()
        if self._condition.writing is not None:
            now = self._clock.now().isoformat()
            with suppress(Unavailable, ReadOnly):
                await self.submit(lambda transaction: transaction.settings.put(_PROBED, now))
                self._condition = self._condition.wrote(None)

    @asynccontextmanager
    async def _interactive(self, gate: Gate | None, span: Span) -> AsyncIterator[AsyncTransaction]:
        longest = self._limits.transaction_seconds
        span.begun_at = self._clock.monotonic()
        transaction = AsyncTransaction(
            self._engines.interactive, self._statements, self._clock, gate
        )
        try:
            async with asyncio.timeout(longest):
                await transaction.begin()
                yield transaction
                await transaction.commit()
        except TimeoutError:
            raise Unavailable(
                f"a transaction lasted longer than {longest} seconds",
                remedy="It was rolled back; try again.",
            ) from None
        finally:
            await transaction.close()
            span.ended_at = self._clock.monotonic()
            self.timings.add(Kind.INTERACTIVE, span)

    async def _acquire(self) -> None:
        try:
            async with asyncio.timeout(self._limits.wait_seconds):
                await self._lock.acquire()
        except TimeoutError:
            raise Unavailable("other writers keep the store busy", remedy="Try again.") from None

    def _refuse(self) -> None:
        if self._condition.damage is not None:
            raise again(self._condition.damage)
        if self._holder is not None and self._holder is asyncio.current_task():
            raise RuntimeError("this task holds the writers' lock itself: it would wait for ever")

    def _open_readers(self) -> None:
        """Open the connections that are kept: later there may be no file descriptor for one."""
        kept = min(self.config.reader_conns, self.config.max_idle_conns)
        with translated(), ExitStack() as held:
            for _ in range(kept):
                connection = held.enter_context(self._engines.readers.connect())
                held.enter_context(connection.begin())
                reader = Transaction(connection, self._statements, self._clock, writable=False)
                reader.settings.get("ping")

    def _read(self, unit: Unit[T], span: Span) -> T:
        span.begun_at = self._clock.monotonic()
        try:
            with self._engines.readers.connect() as connection, connection.begin():
                return unit(Transaction(connection, self._statements, self._clock, writable=False))
        except driver_errors() as error:
            raise translate(error) from error
        finally:
            span.ended_at = self._clock.monotonic()

    async def _close(self) -> None:
        try:
            if self._writer is not None:
                await self._writer.close()
        finally:
            self._readers.shutdown()


def _only_reads() -> ReadOnly:
    return ReadOnly("this store only reads", remedy="Open it for writing.")
