"""Let the model live long, from a seed, and print how far it came."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import structlog
from hypothesis import HealthCheck, Phase, settings

from tests.fleet.postgres import PostgresCluster
from tests.model.cluster import Counts
from tests.model.databases import Postgres, Sqlite
from tests.model.machine import Databases, FleetMachine, live
from tests.model.snapshot_machine import SnapshotMachine

STEPS_A_LIFE = 60
_FIXED_HASHES = {"PYTHONHASHSEED": "0"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run; a broken invariant is raised, after the script of rules that led to it."""
    wanted = _arguments(argv)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with ExitStack() as stack:
        databases = _databases(stack, wanted.engine)
        counts = Counts()
        begun = time.monotonic()
        print(f"seed {wanted.seed}: {wanted.steps} steps on {wanted.engine}", flush=True)
        how = _settings(wanted.steps, shrink=not wanted.as_found)
        kind = SnapshotMachine if wanted.snapshots else FleetMachine
        live(databases, how, kind=kind, counts=counts, drawn=wanted.seed)
        print(f"{time.monotonic() - begun:.0f} s: {counts}", flush=True)
    return 0


def _settings(steps: int, *, shrink: bool) -> settings:
    return settings(
        max_examples=max(1, steps // STEPS_A_LIFE),
        stateful_step_count=STEPS_A_LIFE,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        report_multiple_bugs=False,
    )


def _databases(stack: ExitStack, engine: str) -> Databases:
    if engine == "postgresql":
        return Postgres(stack.enter_context(PostgresCluster.make()).database())
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="sandboxd-model-"))
    return Sqlite(Path(directory))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), metavar="N")
    parser.add_argument("--steps", type=int, default=6000, metavar="M", help="at most (6000)")
    parser.add_argument("--engine", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--snapshots", action="store_true", help="mostly chains of snapshots")
    parser.add_argument("--as-found", action="store_true", help="print failures unshrunk, at once")
    return parser.parse_args(argv)


if __name__ == "__main__":
    if _FIXED_HASHES.items() <= os.environ.items():
        sys.exit(main())
    # The order of sets must be the same each time too.
    os.execve(
        sys.executable,
        [sys.executable, "-m", "tests.model", *sys.argv[1:]],
        {**os.environ, **_FIXED_HASHES},
    )
