"""The table of kill points is closed: no commit and no host call is missing, none is made up."""

from __future__ import annotations

from collections import Counter

from scheduler.hosts.driver import HostDriver
from tests.faults.commits import commits
from tests.faults.mortal import LOOKS
from tests.faults.points import COMMITS, EXEMPT, FIRST_STEPS, HOST_CALLS
from tests.faults.stories import STORIES

AT_LEAST = 40


def test_every_commit_in_the_code_has_a_name_of_its_own() -> None:
    assert not [name for name, times in Counter(commits()).items() if times > 1]


def test_every_commit_in_the_code_is_cut_short_in_a_story() -> None:
    exempt = {name for name in EXEMPT if not name.startswith("host.")}
    assert set(commits()) == COMMITS.keys() | exempt


def test_every_host_call_that_changes_something_is_cut_short_in_a_story() -> None:
    verbs = {name for name in vars(HostDriver) if not name.startswith("_")}
    exempt = {name for name in EXEMPT if name.startswith("host.")}
    assert {f"host.{verb}" for verb in verbs - LOOKS} == HOST_CALLS.keys() | exempt


def test_there_are_many_points_and_each_is_told_of_in_a_story_that_counts_it() -> None:
    acts = {**COMMITS, **HOST_CALLS, **FIRST_STEPS}
    assert 2 * len(acts) - 3 >= AT_LEAST
    assert set(acts.values()) <= set(STORIES)
    assert not [act for act, story in acts.items() if not story.counts(act, 1)]
