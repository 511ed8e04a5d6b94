"""The table of kill points is closed: no commit and no host call is missing, none is made up."""

from __future__ import annotations

from collections import Counter

from scheduler.hosts.driver import HostDriver
from tests.faults.commits import commits
from tests.faults.mortal import LOOKS
from tests.faults.points import ACTS, COMMITS, EXEMPT, HOST_CALLS, ON_REAL_HOSTS
from tests.faults.stories import REAL_STORIES, STORIES

AT_LEAST = 40


def test_every_commit_in_the_code_has_a_name_of_its_own() -> None:
    assert not [name for name, times in Counter(commits()).items() if times > 1]


def test_every_commit_in_the_code_is_cut_short_in_a_story() -> None:
    exempt = {name for name in EXEMPT if not name.startswith("host.")}
    real = {name for name in ON_REAL_HOSTS if not name.startswith("host.")}
    assert set(commits()) == COMMITS.keys() | real | exempt


def test_every_host_call_that_changes_something_is_cut_short_in_a_story() -> None:
    verbs = {name for name in vars(HostDriver) if not name.startswith("_")}
    exempt = {name for name in EXEMPT if name.startswith("host.")}
    real = {name for name in ON_REAL_HOSTS if name.startswith("host.")}
    assert {f"host.{verb}" for verb in verbs - LOOKS} == HOST_CALLS.keys() | real | exempt


def test_there_are_many_points_and_each_is_told_of_in_a_story_that_counts_it() -> None:
    assert 2 * len(ACTS) - 3 >= AT_LEAST
    assert set(ACTS.values()) <= set(STORIES)
    assert set(ON_REAL_HOSTS.values()) <= set(REAL_STORIES)
    acts = [*ACTS.items(), *ON_REAL_HOSTS.items()]
    assert not [act for act, story in acts if not story.counts(act, 1)]
