"""A few short lives of the model on each engine; `python -m tests.model` lives longer."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.fleet.postgres import PostgresCluster
from tests.model.databases import Postgres, Sqlite
from tests.model.machine import FleetMachine

SHORT = settings(
    max_examples=12,
    stateful_step_count=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_invariants_hold_on_sqlite(tmp_path: Path) -> None:
    databases = Sqlite(tmp_path)
    run_state_machine_as_test(lambda: FleetMachine(databases), settings=SHORT)


def test_invariants_hold_on_postgresql(postgres: PostgresCluster) -> None:
    databases = Postgres(postgres.database())
    run_state_machine_as_test(lambda: FleetMachine(databases), settings=SHORT)
