"""A few short lives of the model on each engine; `python -m tests.model` lives longer."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, settings

from tests.fleet.postgres import PostgresCluster
from tests.model.databases import Postgres, Sqlite
from tests.model.machine import live

SHORT = settings(
    max_examples=12,
    stateful_step_count=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_invariants_hold_on_sqlite(tmp_path: Path) -> None:
    live(Sqlite(tmp_path), SHORT)


def test_invariants_hold_on_postgresql(postgres: PostgresCluster) -> None:
    live(Postgres(postgres.database()), SHORT)
