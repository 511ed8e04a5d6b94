"""What is over is swept out in small units of work, what lives keeps everything it refers to."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from scheduler.control.pace import Keep
from scheduler.control.retention import AGAIN_SECONDS, Retention
from scheduler.errors import NotFound
from scheduler.lifecycle.clock_trust import ClockTrust
from scheduler.model import Event, Sandbox, Volume, VolumeRole
from scheduler.service.clock_trust import (
    BASES_SETTING,
    LATEST_SETTING,
    TRUST_SETTING,
    clock_trust,
    keep_clock_trust,
    reading,
)
from scheduler.service.intents import Intent
from scheduler.store import Transaction
from tests.control.world import ME, World
from tests.waits import until_answer

INTENT: Intent[Sandbox] = Intent(actor=ME)
DAY = 86400.0


def sweeper(there: World, **keep: Any) -> Retention:
    return Retention(there.store, there.clock, replace(Keep(), **keep))


async def journal(there: World, count: int) -> None:
    """Write so many events of now."""
    now = there.clock.now()

    def unit(tx: Transaction) -> None:
        for number in range(count):
            tx.events.add(Event(at=now, kind="sandbox.state", message=str(number)))

    await there.store.submit(unit)


async def test_a_month_after_its_end_a_sandbox_is_forgotten_with_all_that_was_about_it(
    there: World,
) -> None:
    living, dead = await there.created(), await there.created()
    await there.services.sandboxes.destroy(dead.id, INTENT)
    await there.settle(dead.id)
    there.clock.advance(29 * DAY)
    await sweeper(there).sweep()
    assert not (await there.sandbox(dead.id)).live, "still readable"
    assert (await there.services.sandboxes.decision(dead.id)).id == dead.decision_id

    there.clock.advance(2 * DAY)
    assert await sweeper(there).sweep() is None
    with pytest.raises(NotFound):
        await there.sandbox(dead.id)
    with pytest.raises(NotFound):
        await there.store.read(lambda tx: tx.decisions.get(dead.decision_id or ""))
    assert await there.sandbox(living.id) == living
    assert (await there.services.sandboxes.decision(living.id)).sandbox_id == living.id
    assert len(await there.events()) == 1, "the newest number is what others count from"
    await there.assert_ledger()


async def test_each_kind_is_kept_as_long_as_configured(there: World) -> None:
    dead = await there.created()
    await there.services.sandboxes.destroy(dead.id, INTENT)
    await there.settle(dead.id)
    there.clock.advance(60.0)
    await sweeper(there, events_seconds=3600, tombstones_seconds=30).sweep()
    with pytest.raises(NotFound):
        await there.sandbox(dead.id)
    assert await there.store.read(lambda tx: tx.decisions.of_sandbox(dead.id))
    assert await there.events(sandbox_id=dead.id)
    await sweeper(there, events_seconds=30, decisions_seconds=30).sweep()
    assert not await there.store.read(lambda tx: tx.decisions.of_sandbox(dead.id))


async def test_only_so_many_events_are_kept(there: World) -> None:
    await journal(there, 40)
    await sweeper(there, events_rows=10).sweep()
    left = await there.events()
    assert [event.message for event in left] == [str(number) for number in range(30, 40)]


async def test_a_pass_is_bounded_and_says_that_there_is_more(there: World) -> None:
    """A long unit of work would keep every other writer waiting."""
    await journal(there, 50)
    keep = Retention(there.store, there.clock, Keep(events_rows=1), batch=10, batches=2)
    before = len(await there.events())
    assert await keep.sweep() == AGAIN_SECONDS
    assert before - len(await there.events()) == 20
    while await keep.sweep() is not None:
        pass
    assert len(await there.events()) == 1


async def test_a_pass_on_a_slow_disk_ends_in_time_and_says_that_there_is_more(there: World) -> None:
    """A pass that overruns ends the daemon."""
    await journal(there, 50)
    keep = Retention(there.store, there.clock, Keep(events_rows=1), batch=10, pass_seconds=0.0)
    before = len(await there.events())
    assert await keep.sweep() == AGAIN_SECONDS
    assert before - len(await there.events()) == 10
    while await keep.sweep() is not None:
        pass
    assert len(await there.events()) == 1


async def test_it_is_a_loop_of_the_plane(there: World) -> None:
    await journal(there, 3)
    there.clock.advance(timedelta(days=31).total_seconds())
    async with there.running():

        async def swept() -> bool:
            return len(await there.events(kind="sandbox.state")) <= 1

        await until_answer(swept)


async def test_a_tombstone_stays_while_a_host_may_still_hold_its_volumes(there: World) -> None:
    dead = await there.created()
    await there.services.sandboxes.destroy(dead.id, INTENT)
    await there.settle(dead.id)
    host = (await there.store.read(lambda tx: tx.hosts.all()))[0]
    left = Volume(
        owner=dead.id,
        host_id=host.id,
        pool=host.pool,
        name=f"{dead.id.lower()}.qcow2",
        role=VolumeRole.OVERLAY,
        created_at=there.clock.now(),
    )
    await there.store.submit(lambda tx: tx.volumes.add(left))
    there.clock.advance(400 * DAY)
    assert await sweeper(there).sweep() is None
    assert not (await there.sandbox(dead.id)).live
    await there.store.submit(lambda tx: tx.volumes.remove(host.id, host.pool, left.name))
    await sweeper(there).sweep()
    with pytest.raises(NotFound):
        await there.sandbox(dead.id)


async def gone_for_a_minute(there: World) -> Sandbox:
    """Return a sandbox that was just destroyed, in a world where all that is old was swept out."""
    await sweeper(there).sweep()
    dead = await there.created()
    await there.services.sandboxes.destroy(dead.id, INTENT)
    await there.settle(dead.id)
    there.clock.advance(60.0)
    return dead


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_clock_that_is_years_ahead_for_a_while_costs_nothing(
    there: World, restarted: bool
) -> None:
    """Nothing of it could be brought back once the clock is right again."""
    dead = await gone_for_a_minute(there)
    before = await there.events()
    keep = sweeper(there)
    if restarted:
        there.clock.reboot()
        keep = sweeper(there)
    there.clock.set_wall(3 * 365 * DAY)
    for _ in range(23):
        assert await keep.sweep() is None
        there.clock.advance(3600.0)
    there.clock.set_wall(-3 * 365 * DAY)
    await keep.sweep()
    assert not (await there.sandbox(dead.id)).live
    assert (await there.services.sandboxes.decision(dead.id)).id == dead.decision_id
    *kept, doubted = await there.events()
    assert kept == before
    assert (doubted.kind, doubted.reason_code) == ("clock.doubted", "clock_ahead")
    assert "nothing that is kept is removed before 2029-01-0" in doubted.message


async def test_a_clock_that_stays_ahead_is_believed_a_day_later(there: World) -> None:
    dead = await gone_for_a_minute(there)
    there.clock.set_wall(3 * 365 * DAY)
    keep = sweeper(there)
    await keep.sweep()
    there.clock.advance(DAY - 1)
    await keep.sweep()
    assert not (await there.sandbox(dead.id)).live
    there.clock.advance(1)
    await keep.sweep()
    with pytest.raises(NotFound):
        await there.sandbox(dead.id)


async def test_each_doubt_is_logged_once_and_again_by_another_daemon(there: World) -> None:
    await gone_for_a_minute(there)
    keep = sweeper(there)
    counts = []
    for step, by in ((3 * 365, keep), (0, keep), (0, sweeper(there)), (-365, keep), (400, keep)):
        there.clock.set_wall(step * DAY)
        with capture_logs() as logs:
            for _ in range(3):
                there.clock.advance(60.0)
                await by.sweep()
        counts.append([one["event"] for one in logs].count("nothing outdated is removed"))
    assert counts == [1, 0, 1, 1, 1]


async def test_what_the_clock_gains_adds_up_from_one_sweep_and_daemon_to_the_next(
    there: World,
) -> None:
    dead = await gone_for_a_minute(there)
    for gained in range(40 * 24):
        there.clock.set_wall(3000.0)
        there.clock.advance(60.0)
        await sweeper(there).sweep()
        trust = await there.store.read(clock_trust)
        assert trust is not None
        assert (trust.until is not None) == (gained > 0)
    assert not (await there.sandbox(dead.id)).live


async def test_bases_that_an_older_version_left_standing_are_of_their_boot_alone(
    there: World,
) -> None:
    """It goes on with the other readings, and knows nothing of these."""
    old = reading(there.clock)
    there.clock.reboot()
    now = reading(there.clock)

    def left(tx: Transaction) -> list[ClockTrust | None]:
        keep_clock_trust(tx, ClockTrust(believed=old, doubted=old, latest=old, base=old))
        plain = {one: [one.at.isoformat(), one.boot_id, one.boot_seconds] for one in (old, now)}
        tx.settings.put(BASES_SETTING, json.dumps([plain[old], plain[old]]))
        tx.settings.put(TRUST_SETTING, json.dumps([plain[now], None]))
        believed = clock_trust(tx)
        tx.settings.put(TRUST_SETTING, json.dumps([plain[now], plain[old]]))
        tx.settings.put(LATEST_SETTING, json.dumps(plain[now]))
        return [believed, clock_trust(tx)]

    assert await there.store.submit(left) == [
        ClockTrust(believed=now),
        ClockTrust(believed=now, doubted=old, latest=now, doubted_base=now),
    ]


async def test_a_node_that_is_off_at_night_removes_again_after_a_long_weekend(there: World) -> None:
    """Each boot lasts nine hours; that the clock is right is known on the second day."""
    dead = await gone_for_a_minute(there)
    there.clock.advance(40 * DAY)
    for _ in range(2):
        assert not (await there.sandbox(dead.id)).live
        there.clock.reboot()
        for _ in range(9):
            await sweeper(there).sweep()
            there.clock.advance(3600.0)
        there.clock.advance(15 * 3600.0 + 60.0)
    with pytest.raises(NotFound):
        await there.sandbox(dead.id)
    assert len(await there.events(kind="clock.doubted")) == 1


async def test_a_doubt_that_an_older_version_wrote_down_goes_on(there: World) -> None:
    """It wrote no latest reading: the one that was doubted first stands for it."""
    first = reading(there.clock)
    plain = [first.at.isoformat(), first.boot_id, first.boot_seconds]

    def as_before(tx: Transaction) -> ClockTrust | None:
        tx.settings.put(TRUST_SETTING, json.dumps([plain, plain]))
        return clock_trust(tx)

    read = await there.store.submit(as_before)
    assert read == ClockTrust(believed=first, doubted=first, latest=first)
