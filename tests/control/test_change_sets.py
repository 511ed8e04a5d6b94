"""Change sets are made from diffs: intent first, and a loop that may be cut short anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scheduler.errors import Conflict, Invalid, NotFound, Unavailable
from scheduler.model import ChangeSetState, Diff, EntryKind, Manifest
from scheduler.service.intents import Intent
from scheduler.service.requests import MakeChangeSet
from scheduler.store import ChangeSetFilter, ListOptions
from tests.control.changing import AFTER, Changing, changing
from tests.control.world import ME, World


@pytest.fixture
async def lab(there: World, tmp_path: Path) -> AsyncIterator[Changing]:
    async with changing(there, tmp_path) as opened:
        yield opened


async def kinds(lab: Changing) -> list[str]:
    events = await lab.world.store.read(lambda tx: tx.events.find(0))
    return [event.kind for event in events if event.kind.startswith("change_set")]


async def test_a_change_set_is_recorded_then_written_then_judged(lab: Changing) -> None:
    asked = await lab.create()
    assert asked.state is ChangeSetState.PENDING
    assert lab.woken == [asked.id]
    assert await lab.writer.pending() == (asked.id,)
    with pytest.raises(Conflict, match="nothing of it can be read"):
        await lab.service.archive(asked.id)
    made = await lab.made()
    assert made.state is ChangeSetState.READY
    assert (made.wishes, made.reviews) == (2, 0)
    assert [check.result for check in made.checks] == ["passed"]
    assert made.path_ansible == f"changes/JOB-1/{made.id}/ansible"
    assert (await lab.service.archive(made.id)).is_file()
    assert await lab.writer.make(made.id) is None
    assert sorted(set(await kinds(lab))) == [
        "change_set.checking",
        "change_set.created",
        "change_set.ready",
    ]


async def test_a_job_keeps_its_history_and_the_newest_speaks_for_it(lab: Changing) -> None:
    first = await lab.made()
    lab.world.clock.advance(1)
    second = await lab.made()
    page = await lab.service.find(ChangeSetFilter(job_id="JOB-1"), ListOptions())
    assert [one.id for one in page.items] == [second.id, first.id]
    newest = await lab.world.store.read(lambda tx: tx.change_sets.by_job("JOB-1"))
    assert newest.id == second.id


async def test_waiting_ends_when_it_is_judged(lab: Changing) -> None:
    made = await lab.made()
    assert (await lab.service.wait(made.id, 60)).state is ChangeSetState.READY
    pending = await lab.create()
    assert (await lab.service.wait(pending.id, 0)).state is ChangeSetState.PENDING


async def test_a_judgement_that_was_cut_short_is_made_again(lab: Changing) -> None:
    asked = await lab.create()
    judged = lab.writer._judge

    async def cut(_directory: Path, _name: str) -> tuple[()]:
        raise Unavailable("the daemon ends")

    lab.writer._judge = cut
    with pytest.raises(Unavailable):
        await lab.writer.make(asked.id)
    held = await lab.service.get(asked.id)
    assert (held.state, held.reason) == (ChangeSetState.CHECKING, "the daemon ends")
    lab.writer._judge = judged
    await lab.writer.make(asked.id)
    assert (await lab.service.get(asked.id)).state is ChangeSetState.READY


async def test_a_diff_whose_manifests_are_gone_fails_and_says_so(lab: Changing) -> None:
    async def gone(_diff: Diff) -> Manifest:
        raise NotFound("the manifest of before is no longer kept")

    lab.known.delta_of = gone  # type: ignore[assignment, method-assign]
    failed = await lab.made()
    assert failed.state is ChangeSetState.FAILED
    assert failed.reason == "the manifest of before is no longer kept"
    with pytest.raises(Conflict):
        await lab.service.verify(failed.id, Intent(actor=ME))


async def test_what_cannot_be_a_change_set_is_refused_at_once(lab: Changing) -> None:
    with pytest.raises(Invalid, match="a word of Puppet's own"):
        await lab.create("class")
    with pytest.raises(NotFound):
        await lab.service.create("DIF-9", MakeChangeSet(), Intent(actor=ME))
    with pytest.raises(NotFound):
        await lab.service.get("CHG-9")
    assert await lab.writer.make("CHG-9") is None


async def test_a_job_that_is_no_directory_has_no_change_sets(there: World, tmp_path: Path) -> None:
    async with changing(there, tmp_path, job="a:b") as lab:
        with pytest.raises(Invalid, match="can have no change sets"):
            await lab.create()


async def test_an_archive_that_was_removed_by_hand_is_said_to_be_gone(lab: Changing) -> None:
    made = await lab.made()
    (await lab.service.archive(made.id)).unlink()
    with pytest.raises(NotFound, match="is not in the state directory any more"):
        await lab.service.archive(made.id)


def test_the_world_of_these_tests_differs_in_two_files() -> None:
    assert [one.path for one in AFTER.entries[2:]] == ["/etc/motd", "/srv/web"]
    assert all(one.kind is EntryKind.FILE for one in AFTER.entries)
