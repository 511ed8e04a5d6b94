"""Kill the daemon at every point of every story, twice at random ones, and print how it went."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from tests.faults.lands import FARM, REAL
from tests.faults.matrix import Outcome, attempt, pairs, spread, unmet, watch
from tests.faults.nursery import Nursery
from tests.faults.points import ACTS, ON_REAL_HOSTS
from tests.faults.site import Engine, Site
from tests.faults.stories import REAL_STORIES, STORIES
from tests.fleet.postgres import PostgresCluster


def main(argv: Sequence[str] | None = None) -> int:
    """Run the matrix; return 1 when a trial failed, or when a point of the table was not met."""
    wanted = _arguments(argv)
    land, told, table = (
        (REAL, REAL_STORIES, ON_REAL_HOSTS) if wanted.real else (FARM, STORIES, ACTS)
    )
    stories = [story for story in told if not wanted.story or story.name() in wanted.story]
    failures: list[str] = []
    with ExitStack() as stack:
        nursery = stack.enter_context(Nursery())
        for engine in wanted.engine:
            server = None
            if engine is Engine.POSTGRESQL:
                server = stack.enter_context(PostgresCluster.make())
            sites = [Site(engine, nursery, server, land) for _ in range(wanted.clusters)]
            rows = [row for rows in spread(watch, stories, sites) for row in rows]
            points = Counter(row.death.point for row in rows)
            _say(f"{engine}: {len(stories)} stories, {len(points)} points, {len(rows)} deaths")
            if wanted.watch:
                _say("\n".join(sorted(points)))
                continue
            if not wanted.story:
                failures += [f"{engine}: no story met {act}" for act in sorted(unmet(rows, table))]
            trials = [*rows, *pairs(rows, wanted.pairs, wanted.seed)]
            outcomes = spread(attempt, trials, sites, _tell)
            _say("\n".join(_table(outcomes)))
            failures += [f"{engine}: {one.row}" for one in outcomes if one.fault is not None]
    _say("\n".join((f"seed {wanted.seed}: {len(failures)} failures", *failures)))
    return int(bool(failures))


def _tell(outcome: Outcome) -> None:
    told = "FAILED" if outcome.fault is not None else f"{outcome.seconds:.1f} s"
    _say(f"{time.strftime('%H:%M:%S')} {outcome.row}: {told}")
    for end in outcome.lost:
        _say(f"told again, since a host was gone: {end}")
    if outcome.fault is not None:
        _say(outcome.fault)


def _table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """A line a story: how many deaths it survived, how long recovery took at most."""
    yield f"{'story':<20} {'deaths':>6} {'survived':>8} {'pairs':>6} {'survived':>8} {'slowest':>9}"
    names = [story.name() for story in (*STORIES, *REAL_STORIES)]
    for name in [*names, None]:
        chosen = [one for one in outcomes if name is None or one.row.story.name() == name]
        cells = []
        for paired in (False, True):
            of_kind = [one for one in chosen if (one.row.death.again_at is not None) is paired]
            cells += [len(of_kind), sum(one.fault is None for one in of_kind)]
        slowest = max((one.seconds for one in chosen), default=0.0)
        if chosen:
            once, survived, twice, survived_twice = cells
            yield (
                f"{name or 'all':<20} {once:>6} {survived:>8} {twice:>6} {survived_twice:>8}"
                f" {slowest:>7.1f} s"
            )


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument(
        "--engine", type=Engine, action="append", choices=list(Engine), help="default: both"
    )
    parser.add_argument(
        "--story", action="append", metavar="NAME", help="only this one; may be repeated"
    )
    parser.add_argument("--pairs", type=int, default=100, metavar="N", help="random pairs (100)")
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(10**6), help="of the pairs; default: chance"
    )
    parser.add_argument("--clusters", type=int, default=2, metavar="N", help="side by side (2)")
    parser.add_argument("--real", action="store_true", help="stories of disks, on real hosts")
    parser.add_argument("--watch", action="store_true", help="kill nobody, print the points")
    arguments = parser.parse_args(argv)
    arguments.engine = arguments.engine or list(Engine)
    return arguments


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
