"""How the database finds what is asked for: nothing that recurs reads all that was ever kept.

Every statement of the repositories is looked at. One that reads the whole of a table that grows
with what is kept must stand here, with the reason why it may.
"""

from __future__ import annotations

import pkgutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from importlib import import_module

import pytest
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import NullPool

from scheduler.store import EventFilter, ListOptions, StoreConfig, repositories
from scheduler.store.repositories import events, images, sandbox_queries, verifications
from scheduler.store.repositories.outdated import Kind
from scheduler.store.repositories.sandbox_queries import SandboxFilter
from scheduler.store.statements import Statement, Statements
from tests.clocks import START

OF_THE_FLEET = frozenset(
    {"allocations", "hosts", "images", "replicas", "source_vms", "ssh_authorities", "volumes"}
)
"""Their rows are of what there is, not of what there was."""

LIVE_ONLY = (
    *("_live", "ix_commands_running", "ix_inspections_waiting", "ix_verifications_undone"),
    "ix_consoles_unended",
)
"""Indexes that hold nothing of what is over."""

MAY_READ_ALL: Mapping[str, str] = {
    "authorities._GUESTS": "an operator asks who would lose trust",
    "change_sets._UNFINISHED": "once, at the start",
    "diffs._MANIFESTS": "a keeper of files asks for all that is named, by a reader",
    "publications._UNSETTLED": "at the start, and when the clock was set",
    "sandbox_queries.LIVE": "an operator's audit",
    "sandbox_queries.UNSETTLED": "at the start, and when the clock was set",
    "snapshots._COUNTS": "all of them are counted for the metrics, by a reader",
    "snapshots._MANIFESTS": "as the diffs'",
    "snapshots._UNFINISHED": "once, at the start",
}


def statements() -> Iterator[tuple[str, Statement]]:
    """Yield every statement of fixed shape, with its name."""
    for module in pkgutil.iter_modules(repositories.__path__):
        for name, value in vars(import_module(f"{repositories.__name__}.{module.name}")).items():
            found = value if isinstance(value, Mapping) else {"": value}
            for key, one in found.items():
                place = f"{module.name}.{name}{key and f'[{key}]'}"
                if isinstance(one, Statement):
                    yield place, one
                elif isinstance(one, Kind):
                    yield f"{place}.find", one.find
                    yield f"{place}.remove", one.remove


def scans(plan: list[str]) -> list[str]:
    """Return the steps of a plan that read all of a table that grows with what is kept."""
    return [
        step
        for step in plan
        if step.startswith("SCAN ")
        and step.split()[1] not in OF_THE_FLEET | {"CONSTANT"}
        and not any(index in step for index in LIVE_ONLY)
    ]


@pytest.fixture
def raw(sqlite_url: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(StoreConfig(database_url=sqlite_url).sqlite_path or "")) as opened:
        yield opened


def explained(raw: sqlite3.Connection, said: str) -> list[str]:
    rows = raw.execute(f"EXPLAIN QUERY PLAN {said}", [0] * said.count("?"))
    return [row[3] for row in rows]


def test_nothing_reads_all_that_was_ever_kept_but_for_a_reason(raw: sqlite3.Connection) -> None:
    prepared = Statements(sqlite.dialect())
    found = {
        name
        for name, statement in statements()
        if scans(explained(raw, prepared.prepared(statement).text))
    }
    assert found == set(MAY_READ_ALL)


def test_there_are_many_statements() -> None:
    assert len(list(statements())) > 100


def test_an_agents_quota_is_found_by_its_live_sandboxes_in_order(raw: sqlite3.Connection) -> None:
    """Every create asks for it in the one writer."""
    query = sandbox_queries.matching(SandboxFilter(agent_id="a"), "sqlite")
    last = ListOptions(limit=1, offset=9)
    page = sandbox_queries.ORDER.of(last).page(query, last)
    (step,) = explained(raw, str(page.compile(dialect=sqlite.dialect())))
    assert "ix_sandboxes_agent_live" in step


def test_a_period_of_the_journal_is_found_by_its_times(raw: sqlite3.Connection) -> None:
    """Only what is in the period is read, were it a minute of a month."""
    filter = EventFilter(since_time=START, until_time=START)
    (step,) = explained(raw, str(events.span(filter).compile(dialect=sqlite.dialect())))
    assert "USING COVERING INDEX ix_events_at (at>? AND at<?)" in step


@pytest.mark.parametrize(
    ("table", "statement", "index"),
    [
        ("sandboxes", images._CLONES, "ix_sandboxes_image_live"),
        ("verifications", verifications._UNFINISHED, "ix_verifications_undone"),
    ],
)
def test_postgresql_can_use_them_too(
    postgres_url: str, table: str, statement: Statement, index: str
) -> None:
    """Left alone with the table, the index yields the rows in order: nothing is sorted."""
    dialect = postgresql.psycopg.dialect(paramstyle="format")  # type: ignore[no-untyped-call]
    prepared = Statements(dialect).prepared(statement)
    engine = create_engine(StoreConfig(database_url=postgres_url).url(), poolclass=NullPool)
    with engine.connect() as connection:
        # Which it takes of several, and how, depends on when it last counted the rows.
        for other_way in ("enable_seqscan", "enable_bitmapscan"):
            connection.execute(text(f"SET LOCAL {other_way} = off"))
        for other in inspect(connection).get_indexes(table):
            if other["name"] != index and "duplicates_constraint" not in other:
                connection.execute(text(f"DROP INDEX {other['name']}"))
        parameters = tuple(prepared.bind(["sha256:0"] * len(statement.names)))
        rows = connection.exec_driver_sql(f"EXPLAIN {prepared.text}", parameters)
        plan = "\n".join(row[0] for row in rows)
    assert index in plan
    assert "Sort" not in plan
