"""The clone of a verification is what the sandbox was when it was fresh, user data and all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scheduler.control.clock_guard import ClockGuard
from scheduler.control.clones import BOOT_SECONDS
from scheduler.control.verifier import AGAIN_SECONDS
from scheduler.guests.first_boot import FirstBoot
from scheduler.guests.players import Played
from scheduler.model import Sandbox, SandboxState, VerificationResult
from scheduler.service.intents import Intent
from tests.control.changing import Changing, changing
from tests.control.world import ME, World

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO0kYJ2vvhC3nNZmcIuW1a3kJbF6d0pGAAc2VZ2b2Xow ana@desk"
SETUP = "#cloud-config\nusers: [{name: deploy, plain_text_passwd: hunter2}]\n"
STARTING, RUNNING = SandboxState.STARTING, SandboxState.RUNNING
PASSED, ERROR = VerificationResult.PASSED, VerificationResult.ERROR


@pytest.fixture
async def lab(there: World, tmp_path: Path) -> AsyncIterator[Changing]:
    async with changing(
        there, tmp_path, user_data=SETUP, ssh_public_keys=[KEY], isolation=True
    ) as opened:
        yield opened


async def asked(lab: Changing) -> str:
    made = await lab.made()
    await lab.service.verify(made.id, Intent(actor=ME))
    return made.id


async def cloned(lab: Changing) -> tuple[str, Sandbox]:
    id = await asked(lab)
    assert await lab.verifier.verify(id) == AGAIN_SECONDS
    clone = await lab.clone_of(id)
    await lab.become(clone, STARTING, RUNNING)
    return id, clone


async def ended(lab: Changing, id: str) -> tuple[VerificationResult | None, str]:
    """Return what came out at last, and why."""
    for _ in range(4):
        if await lab.verifier.verify(id) is None:
            break
    done = await lab.verification(id)
    assert done.over
    return done.result, done.reason or ""


async def test_a_clone_is_given_what_the_sandbox_was_given(lab: Changing) -> None:
    id, clone = await cloned(lab)
    assert clone.ssh_public_keys == lab.origin.ssh_public_keys == (KEY,)
    assert (clone.isolation, clone.user_data_bytes) == (True, len(SETUP))
    assert await lab.world.store.read(lambda tx: tx.user_data.get(clone.id)) == SETUP
    assert await ended(lab, id) == (PASSED, "")


async def test_nothing_is_played_while_the_clone_is_still_at_its_first_boot(lab: Changing) -> None:
    id, _ = await cloned(lab)
    lab.guests.boot = FirstBoot.RUNNING
    lab.world.clock.advance(BOOT_SECONDS / 2)
    assert await lab.verifier.verify(id) == AGAIN_SECONDS
    assert lab.guests.plays == []
    lab.guests.boot = FirstBoot.ENDED
    assert await ended(lab, id) == (PASSED, "")


async def test_a_guest_whose_first_boot_cuts_connections_is_waited_for(lab: Changing) -> None:
    """Its user data may restart sshd, or the machine."""
    id, _ = await cloned(lab)
    lab.guests.boot = FirstBoot.RUNNING
    assert await lab.verifier.verify(id) == AGAIN_SECONDS
    lab.guests.reached = False
    assert await lab.verifier.verify(id) == AGAIN_SECONDS
    lab.guests.reached, lab.guests.boot = True, FirstBoot.ENDED
    assert await ended(lab, id) == (PASSED, "")


async def test_a_guest_that_is_never_reached_again_is_an_error(lab: Changing) -> None:
    id, _ = await cloned(lab)
    lab.guests.boot = FirstBoot.RUNNING
    assert await lab.verifier.verify(id) == AGAIN_SECONDS
    lab.guests.reached = False
    lab.world.clock.advance(BOOT_SECONDS + 1)
    assert await ended(lab, id) == (ERROR, "the guest does not answer")


async def test_a_first_boot_without_end_is_an_error(lab: Changing) -> None:
    id, _ = await cloned(lab)
    lab.guests.boot = FirstBoot.RUNNING
    assert await lab.verifier.verify(id) == AGAIN_SECONDS
    lab.world.clock.advance(BOOT_SECONDS + 1)
    result, reason = await ended(lab, id)
    assert (result, lab.guests.plays) == (ERROR, [])
    assert f"still at work in the clone {(await lab.clone_of(id)).id}" in reason


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_clock_that_is_set_makes_no_first_boot_late(lab: Changing, restarted: bool) -> None:
    guard = ClockGuard(lab.world.store, lab.world.clock)
    await guard.watch()
    id, _ = await cloned(lab)
    lab.guests.boot = FirstBoot.RUNNING
    assert await lab.verifier.verify(id) == AGAIN_SECONDS
    lab.world.clock.set_wall(2 * BOOT_SECONDS)
    await guard.watch()
    if restarted:
        lab.verifier = lab.fresh_verifier()
    for _ in range(2):
        lab.world.clock.advance(BOOT_SECONDS / 2 - 1)
        assert await lab.verifier.verify(id) == AGAIN_SECONDS
    lab.guests.boot = FirstBoot.ENDED
    assert await ended(lab, id) == (PASSED, "")


async def test_where_the_first_boot_failed_a_failure_says_nothing_of_the_code(
    lab: Changing,
) -> None:
    id, _ = await cloned(lab)
    lab.guests.boot = FirstBoot.FAILED
    lab.guests.played = Played(succeeded=False, reason="the play failed", log="no user deploy")
    result, reason = await ended(lab, id)
    assert result is ERROR
    assert "cloud-init failed in the clone" in reason
    assert reason.endswith("the play failed")


async def test_what_differs_after_a_first_boot_that_failed_is_told_and_no_verdict(
    lab: Changing,
) -> None:
    id, _ = await cloned(lab)
    lab.guests.boot, lab.guests.brought = FirstBoot.FAILED, ()
    result, _ = await ended(lab, id)
    assert result is ERROR
    assert {one.difference for one in (await lab.verification(id)).remaining} == {"missing"}


async def test_what_passes_passes_though_the_first_boot_failed(lab: Changing) -> None:
    id, _ = await cloned(lab)
    lab.guests.boot = FirstBoot.FAILED
    assert await ended(lab, id) == (PASSED, "")


async def test_without_the_user_data_there_is_no_clone_and_no_verdict(lab: Changing) -> None:
    id = await asked(lab)
    await lab.world.store.submit(lambda tx: tx.user_data.remove(lab.origin.id))
    result, reason = await ended(lab, id)
    assert (result, (await lab.verification(id)).clone_id) == (ERROR, None)
    assert f"the user data of {lab.origin.id} is gone" in reason


async def test_user_data_that_is_taken_no_more_is_an_error_that_does_not_repeat_it(
    lab: Changing,
) -> None:
    """An earlier version took it."""
    id = await asked(lab)
    await lab.world.store.submit(lambda tx: tx.user_data.remove(lab.origin.id))
    await lab.world.store.submit(lambda tx: tx.user_data.add(lab.origin.id, "hunter2"))
    result, reason = await ended(lab, id)
    assert result is ERROR
    assert reason.endswith("this version refuses its user_data")
    assert "hunter2" not in reason
