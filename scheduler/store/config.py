"""Where the database is and how it may be used: the seed's Config, checked before anything opens.

SQLite and PostgreSQL are told apart by the URL alone; everything above this file is the same on
both. A URL may carry a password, so it never shows in a repr or in an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from scheduler.config import Settings
from scheduler.errors import Invalid

_POSTGRES = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
_FEWEST_CONNECTIONS = 3
"""The writer's, a reader's and an interactive one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long anything here waits, and for how much: every bound of the store in one value."""

    wait_seconds: float = 5.0
    """For a lock or a free connection, before it gives up."""
    connect_seconds: float = 5.0
    """For a server to take a connection; PostgreSQL's own library never waits less than 2."""
    transaction_seconds: float = 30.0
    """An interactive transaction keeps other writers waiting: one that lasts longer is undone."""
    waiting_writes: int = 10_000
    """Units that may wait for the writer; more are refused at once."""
    waiting_reads: int = 1_000
    """Reads that may wait for a connection; more are refused at once."""
    batch: int = 256
    """Units in one commit at most, so that no caller waits for an endless one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """The seed's Config; `conn_max_lifetime` in seconds."""

    database_url: str = field(repr=False)
    """`sqlite:///PATH` (four slashes when absolute) or `postgres://user@host/db?sslmode=...`."""
    max_open_conns: int = 8
    """All connections together: one writes, about a third serve transactions, the rest read."""
    max_idle_conns: int = 8
    conn_max_lifetime: float = 3600.0
    auto_migrate: bool = True
    read_only: bool = False
    """For whoever only looks, beside a daemon or without one; a daemon itself has to write."""

    def __post_init__(self) -> None:
        if self.max_open_conns < _FEWEST_CONNECTIONS:
            raise _invalid("max_open_conns", f"must be at least {_FEWEST_CONNECTIONS}")
        if self.max_idle_conns < 1:
            raise _invalid("max_idle_conns", "must be at least 1")
        if self.conn_max_lifetime <= 0:
            raise _invalid("conn_max_lifetime", "must be longer than 0 seconds")
        self.url()

    def url(self) -> URL:
        """Return the URL as the synchronous engine wants it; `Invalid` when it cannot be one."""
        try:
            url = make_url(self.database_url)
        except (ArgumentError, ValueError):
            raise _invalid("database_url", "is not a URL") from None
        if url.drivername in _POSTGRES:
            return url.set(drivername="postgresql+psycopg")
        if url.drivername == "sqlite":
            if not url.database or url.database == ":memory:" or url.host:
                raise _invalid("database_url", "needs a file: sqlite:///PATH")
            return url
        raise _invalid("database_url", f"has the scheme {url.drivername!r}, which is not known")

    @property
    def sqlite_path(self) -> Path | None:
        """Return the database file, or None on PostgreSQL."""
        url = self.url()
        return Path(str(url.database)) if url.drivername == "sqlite" else None

    @property
    def interactive_conns(self) -> int:
        """Return how many connections serve interactive transactions."""
        return max(1, (self.max_open_conns - 1) // 3)

    @property
    def reader_conns(self) -> int:
        """Return how many connections serve `read`."""
        return self.max_open_conns - 1 - self.interactive_conns


def store_config_of(settings: Settings) -> StoreConfig:
    """Return where a configuration wants the database, and how it may be used."""
    section = settings.store
    return StoreConfig(
        database_url=settings.database_url,
        max_open_conns=section.max_open_conns,
        max_idle_conns=section.max_idle_conns,
        conn_max_lifetime=float(section.conn_max_lifetime),
        auto_migrate=section.auto_migrate,
    )


def _invalid(name: str, fault: str) -> Invalid:
    return Invalid(
        f"store.{name} {fault}",
        remedy="Use sqlite:///PATH or postgres://user@host/database?sslmode=..."
        if name == "database_url"
        else f"Correct {name} in the [store] section.",
        details={f"store.{name}": fault},
    )
