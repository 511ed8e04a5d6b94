"""The daemon is killed where it makes something durable, and everything comes right all the same.

These are some of the points; `python -m tests.faults` takes them all, and tells how it goes.
"""

from __future__ import annotations

import os
import signal

import pytest

from tests.faults.matrix import Row, attempt, pairs
from tests.faults.site import Site
from tests.faults.stories import authorities, births, fleet, images, lives, losses, moves, snapshots
from tests.faults.story import Story
from tests.faults.trial import Death

# A story may be told three times.
pytestmark = pytest.mark.timeout(1200)

SEED = 20
PAIRS = 5


def row(story: type[Story], point: str, nth: int = 1, *, mid_call: bool = False) -> Row:
    return Row(story=story, death=Death(point=point, nth=nth, mid_call=mid_call))


ON_SQLITE = (
    row(fleet.FirstStart, "migration.before"),
    row(fleet.FirstStart, "file.cluster.id.before"),
    row(births.Create, "sandboxes.record.before"),
    row(births.Create, "sandboxes.record.after"),
    row(births.Create, "host.create_overlay.after"),
    row(births.Create, "host.define.after"),
    row(births.Create, "host.start.after"),
    row(births.Create, "records.become.before", 2),
    row(lives.Stop, "host.shutdown.after"),
    row(lives.Destroy, "host.undefine.after"),
    row(lives.Destroy, "records.bury.before"),
    row(lives.Expire, "reaper.record_end.after"),
    row(lives.ExpireToImage, "host.flatten_volume.after"),
    row(lives.StepClock, "clock_guard.follow.after"),
    row(fleet.Drain, "drainer.write.after"),
    row(losses.Rebuild, "rebuilds.tried.after"),
    row(images.TakeIn, "images.record.after"),
    row(images.TakeIn, "ingestor.judge.after"),
    row(images.Prefetch, "host.create_replica.after"),
    row(images.Prefetch, "replicas.prove.before"),
    row(images.Clone, "replicas.want.after"),
    row(images.Remove, "ingestor.strike.before"),
    row(authorities.Rotate, "authority_keeper.make.before"),
    row(authorities.Retire, "authority_keeper.remove.before"),
    row(snapshots.MakeSnapshot, "host.take_snapshot.after"),
    row(snapshots.GoBack, "host.revert_snapshot.after"),
    row(snapshots.DeleteSnapshot, "snapshot_records.removed.before"),
    row(moves.MoveAway, "moves.ask_move.after"),
    row(moves.MoveAway, "mover.found.before"),
    row(moves.MoveAway, "host.shutdown.after"),
    row(moves.MoveAway, "relocator.record.before"),
    row(moves.MoveAway, "relocator.record.after"),
    row(moves.DrainAway, "drainer.write.after"),
)
MID_CALL = (
    row(births.Create, "host.define.before", mid_call=True),
    row(births.ChangeOfMind, "host.define.before", mid_call=True),
    row(lives.Destroy, "host.undefine.before", mid_call=True),
)
ON_POSTGRESQL = (
    row(fleet.FirstStart, "migration.statement.before", 10),
    row(births.Create, "sandboxes.record.after"),
    row(births.Create, "records.built.before"),
    row(lives.Destroy, "host.delete_volume.after"),
    row(snapshots.GoBack, "snapshot_records.reverted.before"),
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


class HostGone(births.Create):
    """A story whose first host ends by itself, the first time that it is told."""

    happened = False

    def repeat(self) -> None:
        if not HostGone.happened:
            HostGone.happened = True
            os.kill(self.cluster.hosts[0].pid, signal.SIGKILL)
        super().repeat()


def test_a_story_whose_host_ended_by_itself_is_told_again(sqlite: Site) -> None:
    outcome = attempt(row(HostGone, "sandboxes.record.after"), sqlite)
    assert (outcome.fault, len(outcome.lost)) == (None, 1)
    assert outcome.lost[0].startswith("farm1: libvirtd ended with -9")
