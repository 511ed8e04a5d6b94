"""Runs of playbooks from request to end: frozen when asked for, and never played twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from scheduler.control.playbook_player import PlaybookRunner
from scheduler.control.tally import Untold
from scheduler.errors import Conflict, Invalid, ReadOnly, SandboxdError, Unavailable
from scheduler.model import PlaybookRun, PlayStatus, Sandbox, SandboxState
from scheduler.service.intents import Intent
from scheduler.service.playbook_requests import CreatePlaybook, EditPlaybook, RunPlaybook
from scheduler.store import EventFilter, ListOptions
from tests.clocks import ManualClock
from tests.control.moody import MoodyStore
from tests.control.playing import WELL, Guests
from tests.service.planes import ME, Plane, database, plane
from tests.waits import DEADLINE_SECONDS, until, until_answer

TASK = {"name": "Answer", "module": "ansible.builtin.ping"}


class Counted(Untold):
    """Keeps how plays ended, and how many were in progress at each change."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.in_progress: list[int] = []

    def playing(self, plays: int) -> None:
        self.in_progress.append(plays)

    def played(self, status: str) -> None:
        self.ends.append(status)


class Theatre:
    """A plane with two running sandboxes, a playbook and who plays it."""

    def __init__(self, there: Plane, boxes: dict[str, Sandbox]) -> None:
        self.plane = there
        self.boxes = boxes
        self.guests = Guests()
        self.counted = Counted()
        self.runs = there.services.playbook_runs
        self.runner = self.another_runner()

    def another_runner(self) -> PlaybookRunner:
        return PlaybookRunner(
            self.plane.store,
            self.plane.clock,
            player=self.guests,
            tally=self.counted,
            told=self.plane.journal.poke,
        )

    async def ask(self, *names: str, **fields: object) -> PlaybookRun:
        request = RunPlaybook.model_validate({"sandboxes": list(names), **fields})
        return await self.runs.run("web", request, Intent(actor=ME))

    async def until_ended(self, run: PlaybookRun, *names: str) -> None:
        """Let time pass until the plays on these sandboxes have ended."""
        clock = self.plane.clock
        assert isinstance(clock, ManualClock)

        async def ended() -> bool:
            clock.advance(60)
            return all([await self.has_ended(run, name) for name in names])

        await until_answer(ended)

    async def has_ended(self, run: PlaybookRun, name: str) -> bool:
        seen = await self.runs.get(run.id)
        return seen.play_of(self.boxes[name].id).over

    async def statuses(self, run: PlaybookRun) -> list[PlayStatus]:
        return [play.status for play in (await self.runs.get(run.id)).plays]


@pytest.fixture
async def theatre(tmp_path: Path) -> AsyncIterator[Theatre]:
    async with plane(database(tmp_path), ManualClock()) as there:
        await there.add_host("alpha")
        boxes = {}
        for name in ("one", "two"):
            made = await there.create(sandbox_name=name)
            states = (SandboxState.STARTING, SandboxState.RUNNING)
            boxes[name] = await there.become(made, *states, address="192.0.2.7")
        wanted = CreatePlaybook.model_validate({"name": "web", "tasks": [TASK]})
        await there.services.playbooks.create(wanted, Intent(actor=ME))
        yield Theatre(there, boxes)


async def test_a_run_is_played_as_it_was_asked_for_on_each_sandbox(theatre: Theatre) -> None:
    run = await theatre.ask("one", theatre.boxes["two"].id, check=True, timeout_seconds=60)
    edit = EditPlaybook(hosts="nobody")
    await theatre.plane.services.playbooks.edit(
        "web", edit, Intent(actor=ME), expected_revision=None
    )
    assert await theatre.runner.pending() == (run.id,)
    theatre.guests.away.add("two")
    assert await theatre.runner.play(run.id) is None
    done = await theatre.runs.wait(run.id, 0)
    assert done.over
    assert done.ended_at is not None
    one, two = done.plays
    assert (one.status, one.recap, one.log) == (PlayStatus.SUCCEEDED, WELL.recap, "ok")
    assert (two.status, two.reason) == (PlayStatus.UNREACHABLE, "the guest does not answer")
    assert (done.revision, done.check, "nobody" in done.yaml) == (1, True, False)
    order = theatre.guests.orders[0][1]
    assert (order.yaml, order.check, order.limit_seconds) == (run.yaml, True, 60)
    assert sorted(theatre.counted.ends) == ["succeeded", "unreachable"]
    assert (theatre.counted.in_progress[0], theatre.counted.in_progress[-1]) == (1, 0)
    assert await theatre.runner.play(run.id) is None
    assert len(theatre.guests.orders) == 2
    (listed,) = (await theatre.runs.find("web", ListOptions())).items
    assert [play.log for play in listed.plays] == ["", ""]
    assert await theatre.runner.pending() == ()


async def test_a_play_that_a_death_cut_short_is_told_and_not_played_again(
    theatre: Theatre,
) -> None:
    theatre.guests.ends["one"] = None
    run = await theatre.ask("one")
    work = asyncio.ensure_future(theatre.runner.play(run.id))
    await until(lambda: bool(theatre.guests.orders), what="the play")
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    assert await theatre.statuses(run) == [PlayStatus.PLAYING]
    await theatre.another_runner().play(run.id)
    (play,) = (await theatre.runs.get(run.id)).plays
    assert play.status is PlayStatus.INTERRUPTED
    assert play.started_at is not None
    assert theatre.counted.ends == ["interrupted"]
    assert len(theatre.guests.orders) == 1


async def test_a_run_can_be_cancelled_before_and_while_it_is_played(theatre: Theatre) -> None:
    waiting = await theatre.ask("one")
    gone = await theatre.runs.cancel(waiting.id, Intent(actor=ME))
    assert gone.ended_at is not None
    await theatre.runner.play(waiting.id)
    assert not theatre.guests.orders
    theatre.guests.ends["one"] = None
    run = await theatre.ask("one", "two")
    work = asyncio.ensure_future(theatre.runner.play(run.id))
    await until(lambda: len(theatre.guests.orders) == 2, what="both plays")
    # Whoever asks for the same run once more, as clients do that lost an answer, ends nothing.
    theatre.runner.look_again(run.id)
    await until_answer(partial(theatre.has_ended, run, "two"))
    assert (await theatre.statuses(run))[0] is PlayStatus.PLAYING
    await theatre.runs.cancel(run.id, Intent(actor=ME))
    theatre.runner.look_again(run.id)
    await asyncio.wait_for(work, DEADLINE_SECONDS)
    assert (await theatre.statuses(run))[0] is PlayStatus.CANCELLED
    again = await theatre.runs.cancel(run.id, Intent(actor=ME))
    assert again.over


@pytest.mark.parametrize("refusal", [Unavailable("no answer"), ReadOnly("full")], ids=str)
async def test_an_end_that_the_store_refuses_is_kept_and_ends_no_other_play(
    theatre: Theatre, refusal: SandboxdError
) -> None:
    store, guests = MoodyStore.become(theatre.plane.store), theatre.guests
    guests.held = {name: asyncio.Event() for name in theatre.boxes}
    run = await theatre.ask("one", "two")
    work = asyncio.ensure_future(theatre.runner.play(run.id))
    await until(lambda: len(guests.orders) == 2, what="both plays")
    store.write_refusals += [refusal] * 3
    guests.held["two"].set()
    await until(lambda: len(store.write_refusals) == 2, what="a refusal")
    assert await theatre.statuses(run) == [PlayStatus.PLAYING] * 2
    await theatre.until_ended(run, "two")
    assert await theatre.statuses(run) == [PlayStatus.PLAYING, PlayStatus.SUCCEEDED]
    assert not work.done()
    guests.held["one"].set()
    await asyncio.wait_for(work, DEADLINE_SECONDS)
    done = await theatre.runs.get(run.id)
    assert done.over
    assert [(play.status, play.recap, play.log) for play in done.plays] == [
        (PlayStatus.SUCCEEDED, WELL.recap, "ok")
    ] * 2
    assert (len(guests.orders), theatre.counted.ends) == (2, ["succeeded"] * 2)


async def test_a_play_is_begun_once_however_often_the_store_refuses_it(theatre: Theatre) -> None:
    store = MoodyStore.become(theatre.plane.store)
    run = await theatre.ask("one", "two")
    gone = Unavailable("no answer; whether the change was committed is not known")
    store.write_refusals.append(gone)
    store.lost_answers += [gone] * 4
    work = asyncio.ensure_future(theatre.runner.play(run.id))
    await theatre.until_ended(run, "one", "two")
    await asyncio.wait_for(work, DEADLINE_SECONDS)
    assert store.lost_answers == []
    assert await theatre.statuses(run) == [PlayStatus.SUCCEEDED] * 2
    assert len(theatre.guests.orders) == 2
    told = await theatre.plane.store.read(lambda tx: tx.events.find(0, EventFilter()))
    kinds = [event.kind for event in told if event.kind.startswith("playbook_run.play_")]
    assert sorted(kinds) == ["playbook_run.play_begun"] * 2 + ["playbook_run.play_ended"] * 2


async def test_a_bug_in_one_play_ends_no_other_and_is_told_as_one(theatre: Theatre) -> None:
    guests = theatre.guests
    guests.held = {"two": asyncio.Event()}
    guests.broken.add("one")
    run = await theatre.ask("one", "two")
    work = asyncio.ensure_future(theatre.runner.play(run.id))
    await until(lambda: len(guests.orders) == 2, what="both plays")
    guests.held["two"].set()
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(work, DEADLINE_SECONDS)
    assert await theatre.statuses(run) == [PlayStatus.PLAYING, PlayStatus.SUCCEEDED]
    assert await theatre.runner.play(run.id) is None
    one, _ = (await theatre.runs.get(run.id)).plays
    assert (one.status, len(guests.orders)) == (PlayStatus.INTERRUPTED, 2)
    assert "a bug in sandboxd" in str(one.reason)


async def test_a_cancel_is_heard_although_the_store_refused_a_look(theatre: Theatre) -> None:
    store = MoodyStore.become(theatre.plane.store)
    theatre.guests.ends["one"] = None
    run = await theatre.ask("one")
    work = asyncio.ensure_future(theatre.runner.play(run.id))
    await until(lambda: bool(theatre.guests.orders), what="the play")
    await theatre.runs.cancel(run.id, Intent(actor=ME))
    store.read_refusals.append(Unavailable("the database does not answer"))
    theatre.runner.look_again(run.id)
    await until(lambda: not store.read_refusals, what="a look")
    theatre.runner.look_again(run.id)
    await asyncio.wait_for(work, DEADLINE_SECONDS)
    assert await theatre.statuses(run) == [PlayStatus.CANCELLED]


async def test_a_sandbox_that_is_gone_meanwhile_is_told(theatre: Theatre) -> None:
    run = await theatre.ask("one")
    await theatre.plane.become(theatre.boxes["one"], SandboxState.STOPPED)
    await theatre.runner.play(run.id)
    (play,) = (await theatre.runs.get(run.id)).plays
    assert (play.status, play.reason) == (
        PlayStatus.UNREACHABLE,
        "sandbox one is STOPPED: nothing was played",
    )
    assert await theatre.runner.play("RUN-nowhere") is None
    run = await theatre.ask("two")
    (play,) = run.plays
    gone = replace(run, plays=(replace(play, sandbox_id="SBX-nowhere"),))
    await theatre.plane.store.submit(lambda tx: tx.playbook_runs.replace(gone))
    await theatre.runner.play(run.id)
    (play,) = (await theatre.runs.get(run.id)).plays
    assert play.status is PlayStatus.UNREACHABLE
    assert "SBX-nowhere: nothing was played" in str(play.reason)
    assert not theatre.guests.orders


async def test_what_cannot_be_run_is_refused(theatre: Theatre) -> None:
    with pytest.raises(Invalid, match="named twice"):
        await theatre.ask("one", theatre.boxes["one"].id)
    await theatre.plane.become(theatre.boxes["one"], SandboxState.STOPPED)
    with pytest.raises(Conflict, match="only a RUNNING one"):
        await theatre.ask("one")
    note = {"revision": 1, "file_path": "x", "checked": True, "fault": "no such module"}
    book = await theatre.plane.services.playbooks.get("web")
    await theatre.plane.store.submit(lambda tx: tx.playbooks.note(book.id, **note))  # type: ignore[arg-type]
    with pytest.raises(Conflict, match="does not take"):
        await theatre.ask("two")
