"""Verifications: a fresh clone, the play, a look, and the clone goes whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scheduler.control.clones import LABEL, LEASE_SECONDS
from scheduler.control.verifier import AGAIN_SECONDS, AT_ONCE, MOST_RESTARTS
from scheduler.errors import Conflict, Unavailable, Unreadable
from scheduler.guests.players import Played
from scheduler.model import (
    DesiredState,
    EntryKind,
    HostResources,
    Sandbox,
    SandboxState,
    VerificationPhase,
    VerificationResult,
)
from scheduler.service.intents import Intent
from tests.changes.guests import entry
from tests.control.changing import AFTER, Changing, changing
from tests.control.test_unreadable_rows import damage
from tests.control.world import ME, World

STARTING, RUNNING, ERROR = SandboxState.STARTING, SandboxState.RUNNING, SandboxState.ERROR
PASSED, FAILED = VerificationResult.PASSED, VerificationResult.FAILED


@pytest.fixture
async def lab(there: World, tmp_path: Path) -> AsyncIterator[Changing]:
    async with changing(there, tmp_path) as opened:
        yield opened


async def cloned(lab: Changing) -> tuple[str, Sandbox]:
    """Ask for a verification and let its clone run."""
    made = await lab.made()
    await lab.service.verify(made.id, Intent(actor=ME))
    assert await lab.verifier.verify(made.id) == AGAIN_SECONDS
    clone = await lab.clone_of(made.id)
    await lab.become(clone, STARTING, RUNNING)
    return made.id, clone


async def finish(lab: Changing, id: str) -> None:
    """Take a verification to its end."""
    for _ in range(4):
        if await lab.verifier.verify(id) is None:
            break
    assert (await lab.verification(id)).over
    clone = await lab.clone_of(id)
    assert clone.desired_state is DesiredState.DESTROYED


async def test_a_clone_that_becomes_what_the_sandbox_was_passes(lab: Changing) -> None:
    id, clone = await cloned(lab)
    origin = lab.origin
    assert (clone.base_image, clone.job_id) == (origin.base_image, origin.job_id)
    assert (clone.ttl_seconds, clone.labels) == (LEASE_SECONDS, {LABEL: id})
    await finish(lab, id)
    done = await lab.verification(id)
    assert (done.result, done.reason, done.log) == (PASSED, None, "ok")
    assert done.remaining == ()
    assert lab.guests.plays == [clone.id]
    assert await lab.verifier.pending() == ()
    assert (await lab.service.wait(id, 60)).verification == done


async def test_what_is_missing_is_named(lab: Changing) -> None:
    lab.guests.brought = (AFTER.entries[2], entry("/srv/extra"))
    id, _ = await cloned(lab)
    await finish(lab, id)
    done = await lab.verification(id)
    assert done.result is FAILED
    assert "2 things differ" in (done.reason or "")
    assert [(one.name, one.difference) for one in done.remaining] == [
        ("/srv/extra", "surplus"),
        ("/srv/web", "missing"),
    ]


async def test_what_the_review_file_lists_is_told_and_no_failure(lab: Changing) -> None:
    pipe = entry("/srv/pipe", EntryKind.OTHER)
    lab.known.after = replace(AFTER, entries=(*AFTER.entries, pipe))
    id, _ = await cloned(lab)
    await finish(lab, id)
    done = await lab.verification(id)
    assert done.result is PASSED
    assert [(one.name, one.difference, one.reviewed) for one in done.remaining] == [
        ("/srv/pipe", "missing", True)
    ]


async def test_a_play_that_fails_is_a_failure_with_its_log(lab: Changing) -> None:
    lab.guests.played = Played(succeeded=False, reason="the play failed", log="no package x")
    id, _ = await cloned(lab)
    await finish(lab, id)
    done = await lab.verification(id)
    assert (done.result, done.reason, done.log) == (FAILED, "the play failed", "no package x")


async def test_a_clone_that_cannot_be_reached_is_an_error(lab: Changing) -> None:
    lab.guests.reached = False
    id, _ = await cloned(lab)
    await finish(lab, id)
    done = await lab.verification(id)
    assert (done.result, done.reason) == (VerificationResult.ERROR, "the guest does not answer")


async def test_a_guest_that_the_play_shut_off_is_an_error_with_the_plays_log(lab: Changing) -> None:
    """It is played once: what it says and why it was not looked at are what came out."""
    lab.guests.shuts_off = True
    id, clone = await cloned(lab)
    await finish(lab, id)
    done = await lab.verification(id)
    assert (done.result, done.reason) == (VerificationResult.ERROR, "the guest does not answer")
    assert (done.log, done.restarts, lab.guests.plays) == ("ok", 0, [clone.id])


async def test_an_older_record_of_our_own_is_a_bug(lab: Changing) -> None:
    """Nobody else writes one that is unfinished, and trying again would play again."""
    id, _ = await cloned(lab)
    play = lab.guests.play

    async def meanwhile(directory: Path, clone: Sandbox, _host: HostResources) -> Played:
        newer = await lab.verification(id)
        await lab.world.store.submit(lambda tx: tx.verifications.replace(newer))
        return await play(directory, clone, _host)

    lab.guests.play = meanwhile  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="older record"):
        await lab.verifier.verify(id)


async def test_a_commit_that_comes_late_after_all_is_no_bug(
    lab: Changing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server whose answer was lost may commit when the record was read again already."""
    id, first = await cloned(lab)
    submit, late = lab.world.store.submit, list[Any]()

    async def unanswered(unit: Any) -> Any:
        late.append(unit)
        raise Unavailable("the server is gone", details={"outcome": "unknown"})

    async def committing(unit: Any) -> Any:
        await submit(late.pop())
        monkeypatch.setattr(lab.world.store, "submit", submit)
        return await submit(unit)

    monkeypatch.setattr(lab.world.store, "submit", unanswered)
    with pytest.raises(Unavailable):
        await lab.verifier.verify(id)
    monkeypatch.setattr(lab.world.store, "submit", committing)
    assert await lab.verifier.verify(id) == AGAIN_SECONDS
    assert lab.guests.plays == []
    await lab.verifier.verify(id)  # as a play that was cut short, for all that is known
    second = await lab.clone_of(id)
    assert second.id != first.id
    await lab.become(second, STARTING, RUNNING)
    await finish(lab, id)
    assert (await lab.verification(id)).result is PASSED


async def test_a_clone_that_does_not_come_up_is_an_error(lab: Changing) -> None:
    made = await lab.made()
    await lab.service.verify(made.id, Intent(actor=ME))
    await lab.verifier.verify(made.id)
    await lab.become(await lab.clone_of(made.id), ERROR)
    await finish(lab, made.id)
    done = await lab.verification(made.id)
    assert done.result is VerificationResult.ERROR
    assert "is ERROR: the test says so" in (done.reason or "")


async def test_no_room_for_a_clone_is_an_error_with_nothing_to_clear(lab: Changing) -> None:
    made = await lab.made()
    await lab.world.services.hosts.cordon("alpha", "", Intent(actor=ME))
    await lab.service.verify(made.id, Intent(actor=ME))
    assert await lab.verifier.verify(made.id) == 0.0
    assert await lab.verifier.verify(made.id) is None
    done = await lab.verification(made.id)
    assert (done.result, done.clone_id) == (VerificationResult.ERROR, None)


async def test_there_is_one_verification_at_a_time_and_another_one_later(lab: Changing) -> None:
    id, first = await cloned(lab)
    with pytest.raises(Conflict, match="is being verified"):
        await lab.service.verify(id, Intent(actor=ME))
    await finish(lab, id)
    await lab.service.verify(id, Intent(actor=ME))
    await lab.verifier.verify(id)
    second = await lab.clone_of(id)
    assert second.id != first.id
    assert (await lab.verification(id)).attempts == 2


async def test_a_play_that_was_cut_short_is_played_on_another_clone(lab: Changing) -> None:
    id, first = await cloned(lab)
    before = await lab.verification(id)
    cut = replace(before, phase=VerificationPhase.PLAYING)
    await lab.world.store.submit(lambda tx: tx.verifications.replace(cut))
    lab.verifier = lab.fresh_verifier()
    assert await lab.verifier.pending() == (id,)
    assert await lab.verifier.verify(id) == AGAIN_SECONDS
    second = await lab.clone_of(id)
    assert second.id != first.id
    gone = await lab.world.services.sandboxes.get(first.id)
    assert gone.desired_state is DesiredState.DESTROYED
    await lab.become(second, STARTING, RUNNING)
    await finish(lab, id)
    assert (await lab.verification(id)).result is PASSED
    assert lab.guests.plays == [second.id]


async def test_a_daemon_that_ends_again_and_again_gives_up(lab: Changing) -> None:
    id, _ = await cloned(lab)
    before = await lab.verification(id)
    cut = replace(before, phase=VerificationPhase.COMPARING, restarts=MOST_RESTARTS)
    await lab.world.store.submit(lambda tx: tx.verifications.replace(cut))
    await finish(lab, id)
    assert (await lab.verification(id)).result is VerificationResult.ERROR


async def test_a_clone_that_was_asked_for_before_a_crash_is_taken(lab: Changing) -> None:
    id, clone = await cloned(lab)
    before = await lab.verification(id)
    forgot = replace(before, clone_id=None)
    await lab.world.store.submit(lambda tx: tx.verifications.replace(forgot))
    await lab.verifier.verify(id)
    assert (await lab.clone_of(id)).id == clone.id


async def test_no_clone_waits_for_others_to_be_played_on(lab: Changing) -> None:
    """Its lease would run out meanwhile, and the verification end as an error."""
    running = [await cloned(lab) for _ in range(AT_ONCE)]
    waiting = await lab.made()
    await lab.service.verify(waiting.id, Intent(actor=ME))
    for _ in range(3):
        assert await lab.verifier.verify(waiting.id) == AGAIN_SECONDS
        assert (await lab.verification(waiting.id)).clone_id is None
    await finish(lab, running[0][0])
    assert await lab.verifier.verify(waiting.id) == AGAIN_SECONDS
    await lab.become(await lab.clone_of(waiting.id), STARTING, RUNNING)
    for id in (running[1][0], waiting.id):
        await finish(lab, id)


async def test_who_came_first_has_the_next_clone(lab: Changing) -> None:
    running = [await cloned(lab) for _ in range(AT_ONCE)]
    waiting = [(await lab.made()).id for _ in range(AT_ONCE + 1)]
    for id in waiting:
        lab.world.clock.advance(1)
        await lab.service.verify(id, Intent(actor=ME))
    lab.verifier = lab.fresh_verifier()
    for id, _ in running:
        await finish(lab, id)
    *first, last = waiting
    for id in (last, *reversed(first)):
        assert await lab.verifier.verify(id) == AGAIN_SECONDS
    assert (await lab.verification(last)).clone_id is None
    for id in first:
        await lab.become(await lab.clone_of(id), STARTING, RUNNING)
    await finish(lab, first[0])
    await lab.verifier.verify(last)
    assert (await lab.clone_of(last)).state is SandboxState.CREATED


async def test_after_a_restart_who_has_a_clone_goes_first(lab: Changing) -> None:
    running = [await cloned(lab) for _ in range(AT_ONCE)]
    waiting = await lab.made()
    await lab.service.verify(waiting.id, Intent(actor=ME))
    lab.verifier = lab.fresh_verifier()
    assert await lab.verifier.verify(waiting.id) == AGAIN_SECONDS
    assert (await lab.verification(waiting.id)).clone_id is None
    for id, _ in running:
        await finish(lab, id)
    assert await lab.verifier.verify(waiting.id) == AGAIN_SECONDS
    assert (await lab.clone_of(waiting.id)).state is SandboxState.CREATED


@pytest.mark.parametrize(("begun", "restarted"), [(False, False), (True, False), (True, True)])
async def test_change_sets_that_cannot_be_read_keep_no_place(
    lab: Changing, begun: bool, restarted: bool
) -> None:
    """Neither before they have a clone nor with one, also of a former daemon."""
    asked = []
    for _ in range(AT_ONCE + 1):
        lab.world.clock.advance(1)
        asked.append((await lab.made()).id)
        await lab.service.verify(asked[-1], Intent(actor=ME))
    *bad, good = asked
    for id in bad:
        if begun:
            await lab.verifier.verify(id)
        damage(lab.world, "change_sets", "created_at = 4611686018427387904", id)
        with pytest.raises(Unreadable):
            await lab.verifier.verify(id)
    if restarted:
        lab.verifier = lab.fresh_verifier()
    assert await lab.verifier.verify(good) == AGAIN_SECONDS
    assert (await lab.clone_of(good)).state is SandboxState.CREATED
    for id in bad:
        damage(lab.world, "change_sets", "created_at = 0", id)
    waiting = await lab.made()
    await lab.service.verify(waiting.id, Intent(actor=ME))
    await lab.verifier.verify(waiting.id)
    assert (await lab.verification(waiting.id)).clone_id is None, "mended, they come first"


async def test_a_change_set_that_nobody_verifies_is_left_alone(lab: Changing) -> None:
    made = await lab.made()
    assert await lab.verifier.verify(made.id) is None
