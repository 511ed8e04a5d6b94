"""The daemon is killed where it makes something durable, and everything comes right all the same.

These are some of the points; `python -m tests.faults` takes them all, and tells how it goes.
"""

from __future__ import annotations

import pytest

from tests.faults import stories
from tests.faults.matrix import Row, attempt, pairs
from tests.faults.site import Site
from tests.faults.story import Story
from tests.faults.trial import Death

SEED = 20
PAIRS = 5


def row(story: type[Story], point: str, nth: int = 1, *, mid_call: bool = False) -> Row:
    return Row(story=story, death=Death(point=point, nth=nth, mid_call=mid_call))


ON_SQLITE = (
    row(stories.FirstStart, "migration.before"),
    row(stories.FirstStart, "file.cluster.id.before"),
    row(stories.Create, "sandboxes.record.before"),
    row(stories.Create, "sandboxes.record.after"),
    row(stories.Create, "host.create_overlay.after"),
    row(stories.Create, "host.define.after"),
    row(stories.Create, "host.start.after"),
    row(stories.Create, "records.become.before", 2),
    row(stories.Stop, "host.shutdown.after"),
    row(stories.Destroy, "host.undefine.after"),
    row(stories.Destroy, "records.bury.before"),
    row(stories.Expire, "reaper.record_end.after"),
    row(stories.StepClock, "clock_guard.keep.after"),
    row(stories.Drain, "drainer.write.after"),
    row(stories.Rebuild, "rebuilds.tried.after"),
)
MID_CALL = (
    row(stories.Create, "host.define.before", mid_call=True),
    row(stories.ChangeOfMind, "host.define.before", mid_call=True),
    row(stories.Destroy, "host.undefine.before", mid_call=True),
)
ON_POSTGRESQL = (
    row(stories.FirstStart, "migration.statement.before", 10),
    row(stories.Create, "sandboxes.record.after"),
    row(stories.Create, "records.built.before"),
    row(stories.Destroy, "host.delete_volume.after"),
)


@pytest.mark.parametrize("killed", ON_SQLITE, ids=str)
def test_a_killed_daemon_recovers(killed: Row, sqlite: Site) -> None:
    assert attempt(killed, sqlite).fault is None


@pytest.mark.parametrize("killed", MID_CALL, ids=str)
def test_a_call_may_land_after_the_death_of_its_daemon(killed: Row, sqlite: Site) -> None:
    assert attempt(killed, sqlite).fault is None


@pytest.mark.parametrize("killed", ON_POSTGRESQL, ids=str)
def test_a_killed_daemon_recovers_on_postgresql(killed: Row, postgresql: Site) -> None:
    assert attempt(killed, postgresql).fault is None


@pytest.mark.parametrize("killed", list(pairs(ON_SQLITE, PAIRS, SEED)), ids=str)
def test_a_daemon_killed_while_it_recovers_recovers(killed: Row, sqlite: Site) -> None:
    assert attempt(killed, sqlite).fault is None
