"""Make one mistake at a time in the rules that decide, and print which the tests do not notice."""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from tests.mutation.mutants import Mutant
from tests.mutation.targets import EQUIVALENT, TARGETS, Target
from tests.mutation.trials import Verdict, judge

GOAL = 0.85
"""The least share of mutants that must not survive."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check; return 1 when too many mutants survive."""
    wanted = _arguments(argv)
    os.environ["CI"] = "1"  # properties draw the same examples for every mutant
    begun = time.monotonic()
    found: dict[Mutant, Verdict] = {}

    def note(mutant: Mutant, verdict: Verdict) -> None:
        found[mutant] = verdict
        if verdict is Verdict.SURVIVED:
            print(f"survived: {mutant}", flush=True)

    for target, mutants in _chosen(wanted):
        if mutants:
            judge(target, mutants, wanted.jobs, note)
    print("\n".join(_table(found)))
    share = _share(Counter(found.values()))
    print(
        f"\n{share:.1%} of {len(found)} mutants killed in {time.monotonic() - begun:.0f} s; "
        f"{len(EQUIVALENT)} equivalent ones left out; goal {GOAL:.0%}"
    )
    return int(share < GOAL)


def _chosen(wanted: argparse.Namespace) -> Iterator[tuple[Target, list[Mutant]]]:
    """Yield every target with its mutants, or with its part of a sample over all of them."""
    mutants = {
        target: [one for one in target.mutants() if not wanted.file or one.path in wanted.file]
        for target in TARGETS
        if not wanted.target or target.name in wanted.target
    }
    if wanted.sample:
        everyone = [one for each in mutants.values() for one in each]
        size = min(wanted.sample, len(everyone))
        drawn = set(random.Random(wanted.seed).sample(everyone, size))
        mutants = {key: [one for one in each if one in drawn] for key, each in mutants.items()}
    yield from mutants.items()


def _table(found: dict[Mutant, Verdict]) -> Iterator[str]:
    yield "\n| module | mutants | killed | timeouts | survived | share |\n|---|---|---|---|---|---|"
    for path in [*sorted({mutant.path for mutant in found}), None]:
        counts = Counter(
            verdict for mutant, verdict in found.items() if path in (None, mutant.path)
        )
        cells = [counts[each] for each in (Verdict.KILLED, Verdict.TIMEOUT, Verdict.SURVIVED)]
        shown = " | ".join(map(str, (counts.total(), *cells)))
        yield f"| {path or 'all'} | {shown} | {_share(counts):.0%} |"


def _share(counts: Counter[Verdict]) -> float:
    return 1 - counts[Verdict.SURVIVED] / max(1, counts.total())


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    names = [target.name for target in TARGETS]
    parser.add_argument(
        "--target", action="append", choices=names, help="default: all; may be repeated"
    )
    parser.add_argument("--file", action="append", metavar="PATH", help="only this file's mutants")
    parser.add_argument("--sample", type=int, metavar="N", help="only N mutants, drawn by the seed")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (1)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="side by side (2)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
