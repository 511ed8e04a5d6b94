"""Three engines on one database: the writer's, the readers', and one for interactive transactions.

SQLite: WAL, so readers never wait for the writer; synchronous=FULL, so what is acknowledged
survives power loss; every writing transaction begins IMMEDIATE, because SQLite's default loses
updates and fails upgrades of a read to a write at once. PostgreSQL: writers take one advisory lock,
so that several processes have one order of commits; readers get one snapshot a transaction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from scheduler.store.config import Limits, StoreConfig
from scheduler.store.media import is_frozen

WRITE_LOCK = 0x5A4DB0C5
"""The key of the advisory lock that all writers of a PostgreSQL database share."""

_STATEMENT_SECONDS = 60

_PRAGMAS = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA synchronous = FULL",
    f"PRAGMA journal_size_limit = {64 << 20}",
)
_WRITER_PRAGMAS = (*_PRAGMAS, "PRAGMA journal_mode = WAL")
_READER_PRAGMAS = (*_PRAGMAS, "PRAGMA query_only = ON")

READING = {"begin": "read"}
"""The execution options of an interactive connection that only reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """The three; dispose of all of them."""

    writer: Engine
    readers: Engine
    interactive: AsyncEngine

    async def dispose(self) -> None:
        """Close every pooled connection."""
        await self.interactive.dispose()
        self.readers.dispose()
        self.writer.dispose()


def make(config: StoreConfig, limits: Limits | None = None) -> Engines:
    """Return the engines for a configuration; nothing is connected yet."""
    url = config.url()
    build = _sqlite if url.drivername == "sqlite" else _postgres
    return build(config, limits or Limits(), url)


def begin_writing(connection: Connection) -> None:
    """Take the lock that orders all writers, within the transaction that was just begun."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")


def take_time(connection: Connection) -> None:
    """Lift the bounds on statements for the transaction: an upgrade that is cut begins anew."""
    if connection.dialect.name == "postgresql":
        for bound in ("statement_timeout", "idle_in_transaction_session_timeout"):
            connection.exec_driver_sql(f"SET LOCAL {bound} = 0")


def _pool(config: StoreConfig, limits: Limits, size: int) -> dict[str, Any]:
    kept = min(size, config.max_idle_conns)
    return {
        "pool_size": kept,
        "max_overflow": size - kept,
        "pool_timeout": limits.wait_seconds,
        "pool_recycle": config.conn_max_lifetime,
    }


def _sqlite(config: StoreConfig, limits: Limits, url: URL) -> Engines:
    # How long SQLite waits for another process's lock.
    url = url.update_query_dict({"timeout": str(limits.wait_seconds)})
    if config.read_only:
        path = Path(str(url.database))
        query = {"mode": "ro", "uri": "true"} | ({"immutable": "1"} if is_frozen(path) else {})
        url = url.set(database=f"file:{quote(str(path))}").update_query_dict(query)
    writer = create_engine(url, poolclass=NullPool)
    readers = create_engine(url, **_pool(config, limits, config.reader_conns))
    interactive = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"), **_pool(config, limits, config.interactive_conns)
    )
    written = _READER_PRAGMAS if config.read_only else _WRITER_PRAGMAS
    _govern(writer, written, "BEGIN" if config.read_only else "BEGIN IMMEDIATE")
    _govern(readers, _READER_PRAGMAS, "BEGIN")
    _govern(interactive.sync_engine, written, "BEGIN" if config.read_only else "BEGIN IMMEDIATE")
    return Engines(writer=writer, readers=readers, interactive=interactive)


def _govern(engine: Engine, pragmas: tuple[str, ...], begin: str) -> None:
    """Take transactions out of the driver's hands: it would begin them late and deferred."""

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        only_reads = connection.get_execution_options().get("begin") == "read"
        connection.exec_driver_sql("BEGIN" if only_reads else begin)


def _postgres(config: StoreConfig, limits: Limits, url: URL) -> Engines:
    # The statements' parameters are positional on every dialect.
    common: dict[str, Any] = {"paramstyle": "format"}
    reading = _session(limits, "-c default_transaction_read_only=on") | common
    writing = reading if config.read_only else _session(limits, "-c synchronous_commit=on") | common
    snapshot = _session(
        limits,
        r"-c default_transaction_read_only=on -c default_transaction_isolation=repeatable\ read",
    )
    return Engines(
        writer=create_engine(url, poolclass=NullPool, **writing),
        readers=create_engine(
            url,
            pool_pre_ping=True,
            **common,
            **snapshot,
            **_pool(config, limits, config.reader_conns),
        ),
        interactive=create_async_engine(
            url, pool_pre_ping=True, **writing, **_pool(config, limits, config.interactive_conns)
        ),
    )


def _session(limits: Limits, options: str) -> dict[str, Any]:
    bounds = (
        f"-c lock_timeout={limits.wait_seconds * 1000:.0f} "
        f"-c statement_timeout={_STATEMENT_SECONDS}s "
        f"-c idle_in_transaction_session_timeout={_STATEMENT_SECONDS}s"
    )
    return {
        "connect_args": {
            "application_name": "sandboxd",
            "connect_timeout": math.ceil(limits.connect_seconds),
            # A server that is gone is noticed in a minute, however long a statement may take.
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "options": f"{bounds} {options}",
        }
    }
