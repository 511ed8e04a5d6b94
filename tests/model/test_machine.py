"""A few short lives of the model on each engine; `python -m tests.model` lives longer."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.fleet.postgres import PostgresCluster
from tests.model.cluster import HOSTS, Counts
from tests.model.databases import Postgres, Sqlite
from tests.model.machine import FleetMachine, live
from tests.model.requests import Ask, Create, Request
from tests.model.snapshot_machine import SnapshotMachine

# A minute of computing, which others on the machine make several.
pytestmark = pytest.mark.timeout(1200)

SHORT = settings(
    max_examples=10,
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


def test_invariants_hold_for_chains_of_snapshots(tmp_path: Path) -> None:
    live(Sqlite(tmp_path), SHORT, kind=SnapshotMachine)


def test_a_life_of_rare_turns(tmp_path: Path) -> None:
    """What chance seldom brings together: moves, late calls, full hosts, marks taken off."""
    counts = Counts()
    state = FleetMachine(Sqlite(tmp_path), counts)
    try:
        _live_through_rare_turns(state)
    finally:
        state.teardown()
    assert counts.moves
    assert counts.buried == counts.claims - counts.moves


def test_a_life_of_moves(tmp_path: Path) -> None:
    """Asked, cancelled, cut short and refused, by owners and by a drain, to the end."""
    counts = Counts()
    state = FleetMachine(Sqlite(tmp_path), counts)
    try:
        state.ask([Create(0), Create(1, ttl=300, stops=True), Create(2, start=False)], {}, 20)
        for _ in range(2):
            state.ask([Ask("move", 0), Ask("move", 1), Ask("move", 2)], {"beta": "refuse"}, 0.1)
            state.kill_daemon(9, 0, False)
            state.pass_time(60)
            state.ask([Ask("move", 0)], {}, 1)
            state.ask([Ask("cancel the move", 0), Ask("move to alpha", 1)], {"gamma": "hang"}, 60)
            state.break_host("gamma", "mend")
            state.administer("alpha", "drain by moving")
            state.pass_time(200)
            state.administer("alpha", "undo the drain")
            state.pass_time(60)
    finally:
        state.teardown()
    assert counts.asked_moves > 3


def _live_through_rare_turns(state: FleetMachine) -> None:
    everywhere = {"alpha": "lose answers", "beta": "refuse"}
    state.ask([Create(0, name=0)], everywhere, 0)
    state.ask([Create(1, ttl=60), Create(1, ttl=60), Create(2, ttl=60, stops=True)], {}, 20)
    state.set_clock(3600)
    state.ask([Ask("extend", 2, 600)], {}, 20)
    state.ask(
        [Create(0, name=0), Create(3, vcpus=2, start=False)],
        {"gamma": "hang", "delta": "lose answers"},
        60,
    )
    state.pass_time(60)
    state.break_host("gamma", "mend")
    for host in HOSTS:
        state.interfere(host, 0, "strip its mark")
    state.pass_time(20)
    wishes = [Ask("destroy", 0), Ask("stop", 1), Ask("destroy", 2)]
    state.ask([*wishes, Create(4), Create(5)], {}, 60)
    state.kill_daemon(7, 0, False)
    larger: list[Request] = [Create(key, vcpus=2) for key in range(6, 16)]
    state.ask(larger, {"alpha": "down"}, 60)
