"""Entities come back as they went in, through the mapper alone and through both databases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from scheduler.errors import Invalid, Unreadable
from scheduler.model import ChangeDiff, CommandSummary, Condition
from scheduler.store import StoreConfig, engines, tables
from scheduler.store.cursor import Cursor
from scheduler.store.mapping import Mapper
from scheduler.store.statements import Statements, inserted, numbered, selected
from tests.clocks import START
from tests.store import samples

MAPPERS: list[Mapper[Any]] = [one for one in vars(tables).values() if isinstance(one, Mapper)]
HEALTH = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)
NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - what must be refused


def name_of(mapper: Mapper[Any]) -> str:
    return mapper.table.name


@pytest.mark.parametrize("mapper", MAPPERS, ids=name_of)
@given(data=st.data())
@settings(max_examples=50)
def test_an_entity_comes_back_from_its_row(mapper: Mapper[Any], data: st.DataObject) -> None:
    entity = data.draw(samples.any_of(mapper.kind))
    assert mapper.entity(mapper.row(entity)) == entity


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    """A connection whose writes are all rolled back, with references left unchecked."""
    engine = engines.make(StoreConfig(database_url=url)).writer
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.connection.driver_connection.execute("PRAGMA foreign_keys = OFF")  # type: ignore[union-attr]
        connection.begin()
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        yield connection
        connection.rollback()


@pytest.mark.parametrize("mapper", MAPPERS, ids=name_of)
@given(data=st.data())
@settings(max_examples=15, suppress_health_check=[*HEALTH])
def test_an_entity_comes_back_from_the_database(
    mapper: Mapper[Any], connection: Connection, data: st.DataObject
) -> None:
    entity = data.draw(samples.any_of(mapper.kind, **_within_checks(mapper)))
    cursor = Cursor(connection, Statements(connection.dialect), writable=True)
    connection.exec_driver_sql(f"DELETE FROM {mapper.table.name}")
    if mapper is tables.EVENTS:
        seq = cursor.changed(numbered(mapper, "seq"), mapper.row(entity))[0][0]
        entity = replace(entity, seq=seq)
    else:
        cursor.change(inserted(mapper), mapper.row(entity))
    keys = [column.name for column in mapper.table.primary_key]
    row = cursor.row(
        selected(mapper, *keys), *(mapper.encode(key, getattr(entity, key)) for key in keys)
    )
    assert row is not None
    assert mapper.entity(row) == entity


def _within_checks(mapper: Mapper[Any]) -> dict[str, int]:
    if mapper is tables.HOSTS:
        return {name: 7 for name in mapper.columns if name.startswith("reserved_")}
    if mapper is tables.ALLOCATIONS:
        return {"vcpus": 1, "memory_mb": 2, "storage_mb": 3}
    return {}


@pytest.mark.parametrize(
    "entity",
    [
        samples.sandbox(created_at=NAIVE),
        samples.sandbox(expires_at=NAIVE),
        samples.sandbox(conditions=(Condition(kind="paused", message="", since=NAIVE),)),
    ],
)
def test_a_naive_time_is_refused(entity: Any) -> None:
    with pytest.raises(Invalid, match="no time zone"):
        tables.SANDBOXES.row(entity)


def test_a_naive_time_deep_inside_is_refused() -> None:
    diff = ChangeDiff(commands_run=(CommandSummary(cmd="ls", exit_code=0, at=NAIVE),))
    with pytest.raises(Invalid, match="no time zone"):
        tables.DIFFS.encode("diff_json", diff)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("sandbox_name", "nul\0"),
        ("labels", {"nul\0": "x"}),
        ("labels", {"x": "nul\0"}),
        ("labels", {"half": "\ud800"}),
    ],
)
def test_a_text_no_engine_could_search_is_refused(column: str, value: object) -> None:
    with pytest.raises(Invalid):
        tables.SANDBOXES.encode(column, value)


def test_a_number_that_is_not_finite_is_refused() -> None:
    with pytest.raises(Invalid, match="not finite"):
        tables.EVENTS.encode("evidence", {"load": float("inf")})


def test_evidence_is_json_or_a_bug() -> None:
    read_only = MappingProxyType({"a": 1})
    assert tables.EVENTS.encode("evidence", read_only) == '{"a":1}'
    with pytest.raises(TypeError, match="set is not JSON"):
        tables.EVENTS.encode("evidence", {"hosts": {"ab", "cd"}})


def test_output_keeps_bytes_that_text_columns_refuse() -> None:
    entity = samples.command(stdout="a\0b\udc80")
    assert tables.COMMANDS.entity(tables.COMMANDS.row(entity)).stdout == "a\0b\udc80"


def test_an_unknown_enum_value_makes_its_row_unreadable() -> None:
    row = tables.SANDBOXES.row(samples.sandbox())
    row[tables.SANDBOXES.columns.index("state")] = "HIBERNATED"
    with pytest.raises(
        Unreadable, match=r"row SBX-1 of sandboxes .* its state holds SandboxState 'HIBERNATED'"
    ) as met:
        tables.SANDBOXES.entity(row)
    assert met.value.key == ("SBX-1",)


@pytest.mark.parametrize(
    "document", ["{", '["paused"]', '[{"kind":"paused"}]', "7", "[" * 100_000, '[{"since":"x"}]']
)
def test_a_document_that_is_none_makes_its_row_unreadable(document: str) -> None:
    row = tables.SANDBOXES.row(samples.sandbox())
    row[tables.SANDBOXES.columns.index("conditions")] = document
    with pytest.raises(Unreadable, match=r"row SBX-1 of sandboxes .* its conditions holds"):
        tables.SANDBOXES.entity(row)


def test_a_time_beyond_all_times_makes_its_row_unreadable() -> None:
    row = tables.SANDBOXES.row(samples.sandbox())
    row[tables.SANDBOXES.columns.index("created_at")] = 2**62
    with pytest.raises(Unreadable, match="its created_at holds"):
        tables.SANDBOXES.entity(row)


def test_times_keep_their_microseconds() -> None:
    moment = START.replace(microsecond=123_457)
    row = tables.SANDBOXES.row(samples.sandbox(created_at=moment))
    assert tables.SANDBOXES.entity(row).created_at == moment
