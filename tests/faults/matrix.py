"""The whole matrix: every story, cut short at each of its points, and random deaths in pairs.

Each story is watched once to learn its points; then it is told again for each of them. Clusters
work side by side, each at one trial after another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from random import Random
from threading import Event, Lock
from typing import TypeVar

import libvirt

from scheduler.cli.failures import Failure
from tests.faults.fuse import act_of, begun_within, numbered
from tests.faults.site import Site
from tests.faults.story import NeverReached, Story
from tests.faults.trial import Death, Trial

Job = TypeVar("Job")
Result = TypeVar("Result")

TELLINGS = 3
LATEST_SECOND_DEATH = 12
"""The second death of a pair comes within so many points of the restart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A story and where the daemon dies in it."""

    story: type[Story]
    death: Death

    def __str__(self) -> str:
        return f"{self.story.name()}: {self.death}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a trial ended; seconds from the last restart to a faultless audit."""

    row: Row
    seconds: float = 0.0
    fault: str | None = None
    lost: tuple[str, ...] = ()
    """Hosts that ended by themselves, whereupon the story was told again on others."""


def watch(story: type[Story], site: Site) -> tuple[Row, ...]:
    """Tell a story in peace and return a row for each point it reached, two for a host call."""
    trace = Trial(cluster=site.cluster, story=story(site.cluster)).watch()
    deaths = [
        Death(point=point, nth=nth)
        for point, nth in numbered(begun_within(trace))
        if story.counts(act_of(point), nth)
    ]
    if story.calls_land_late:
        deaths += [replace(death, mid_call=True) for death in deaths if _begins_call(death.point)]
    return tuple(Row(story=story, death=death) for death in deaths)


def _begins_call(point: str) -> bool:
    return point.startswith("host.") and point.endswith(".before")


def unmet(rows: Iterable[Row], table: Collection[str]) -> set[str]:
    """Return what stands in a table and is cut short in none of these rows."""
    return set(table) - {act_of(row.death.point) for row in rows}


def attempt(row: Row, site: Site) -> Outcome:
    """Run one trial; one that failed, whatever failed, costs the site its cluster.

    How often a loop writes may depend on the moment. A daemon that never came to the point of its
    death proves nothing, for or against it, nor does one whose hosts ended by themselves: the story
    is told again, on another cluster.
    """
    fault, lost = "", []
    for _ in range(TELLINGS):
        cluster = site.cluster
        try:
            seconds = Trial(cluster=cluster, story=row.story(cluster)).run(row.death)
        except (AssertionError, TimeoutError, Failure, libvirt.libvirtError) as error:
            fault = f"{type(error).__name__}: {error}\n--- the daemon's log\n{cluster.log_tail()}"
            ended = cluster.lost_hosts()
            lost += ended
            site.spoil()
            if not ended and not isinstance(error, NeverReached):
                break
        else:
            return Outcome(row=row, seconds=seconds, lost=tuple(lost))
    return Outcome(row=row, fault=fault, lost=tuple(lost))


def pairs(rows: Sequence[Row], number: int, seed: int) -> Iterator[Row]:
    """Draw rows whose daemon dies once more while it recovers."""
    chance = Random(seed)
    for _ in range(number):
        row = chance.choice(rows)
        again_at = chance.randint(1, LATEST_SECOND_DEATH)
        yield replace(row, death=replace(row.death, again_at=again_at, mid_call=False))


def spread(
    work: Callable[[Job, Site], Result],
    jobs: Iterable[Job],
    sites: Sequence[Site],
    tell: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    """Have the sites share the jobs; return what came of them, and tell it as it comes.

    A site's servers belong to its thread and end with it, so it is closed there.
    """
    waiting, lock, is_over = iter(jobs), Lock(), Event()
    results: list[Result] = []

    def take_turns(site: Site) -> None:
        with site:
            while not is_over.is_set():
                with lock:
                    job = next(waiting, None)
                if job is None:
                    return
                result = work(job, site)
                with lock:
                    results.append(result)
                    tell(result)

    with ThreadPoolExecutor(len(sites)) as threads:
        try:
            for done in [threads.submit(take_turns, site) for site in sites]:
                done.result()
        finally:
            is_over.set()
    return results
