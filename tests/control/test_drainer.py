"""Drains are rows: carried out pass by pass, by whoever comes next, and over only on proof."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.control import drainer as draining
from scheduler.control.drainer import Drainer
from scheduler.model import (
    DesiredState,
    DrainPolicy,
    DrainState,
    HostState,
    OnDeadline,
    Sandbox,
    SandboxState,
)
from scheduler.service.drains import DrainStatus
from scheduler.service.intents import Intent
from scheduler.service.requests import DrainHost
from tests.control.world import ME, World

INTENT: Intent[DrainStatus] = Intent(actor=ME)
OWNER: Intent[Sandbox] = Intent(actor=ME)


class Draining:
    """A drainer, and whom it woke."""

    def __init__(self, world: World) -> None:
        self.woken: list[str] = []
        self.changed: list[str] = []
        self.ended: list[str] = []
        self.drainer = Drainer(
            world.store,
            world.clock,
            wake_sandbox=self.woken.append,
            changed=self._changed,
            count=self.ended.append,
        )

    async def _changed(self, host_id: str) -> None:
        self.changed.append(host_id)


async def begin(world: World, policy: DrainPolicy = DrainPolicy.DESTROY, **more: object) -> None:
    request = DrainHost.model_validate({"policy": policy, "deadline_seconds": None, **more})
    await world.services.drains.drain("alpha", request, INTENT)


async def status(world: World) -> DrainStatus:
    return await world.services.drains.status("alpha")


async def test_nothing_to_drain_is_no_work(there: World) -> None:
    assert await Draining(there).drainer.drain() is None


async def test_an_empty_host_is_drained_at_once(there: World) -> None:
    work = Draining(there)
    await begin(there, reason="new disks")
    assert await work.drainer.drain() is None

    now = await status(there)
    assert (now.drain.state, now.host.state) == (DrainState.FINISHED, HostState.DRAINED)
    assert now.host.state_reason == "drained: new disks"
    assert work.changed == [now.host.id]
    assert work.ended == ["finished"]
    (finished,) = await there.events(kind="drain.finished")
    assert (finished.actor, finished.host_id) == (ME, now.host.id)


async def test_destroyed_one_by_one_and_drained_only_when_proven_empty(there: World) -> None:
    made = [await there.created() for _ in range(3)]
    work = Draining(there)
    await begin(there)
    await work.drainer.drain()
    assert sorted(work.woken) == sorted(one.id for one in made)
    for left, one in zip((2, 1, 0), made, strict=True):
        assert (await status(there)).host.state is HostState.DRAINING
        await there.settle(one.id)
        await work.drainer.drain()
        assert (await status(there)).drain.remaining == left
    assert (await status(there)).host.state is HostState.DRAINED
    wished = await there.events(sandbox_id=made[0].id, kind="sandbox.desired")
    assert [(e.actor, e.reason_code) for e in wished] == [(ME, "drained")]
    await there.assert_ledger()


async def test_a_host_that_does_not_answer_is_never_drained(there: World) -> None:
    made = await there.created()
    (driver,) = there.drivers.by_host.values()
    driver.reachable = False  # type: ignore[attr-defined]
    work = Draining(there)
    await begin(there, deadline_seconds=10)
    there.clock.advance(3600)
    for _ in range(3):
        await work.drainer.drain()
        await there.look()
    assert (await status(there)).host.state is HostState.DRAINING
    assert "host_unreachable" in (await status(there)).plan.blockers[0]
    assert len(await there.allocations(made.id)) == 1


async def test_policy_expire_waits_and_the_deadline_destroys(there: World) -> None:
    made = await there.created()
    work = Draining(there)
    await begin(there, DrainPolicy.EXPIRE, deadline_seconds=30)
    assert await work.drainer.drain() == pytest.approx(30)
    assert (await there.sandbox(made.id)).desired_state is DesiredState.RUNNING
    there.clock.advance(30)
    assert await work.drainer.drain() is None
    assert (await there.sandbox(made.id)).desired_state is DesiredState.DESTROYED
    await there.settle(made.id)
    await work.drainer.drain()
    assert (await status(there)).host.state is HostState.DRAINED


async def test_no_sleep_is_longer_than_a_suspended_machine_may_cost(there: World) -> None:
    await there.created()
    await begin(there, DrainPolicy.EXPIRE, deadline_seconds=86400)
    assert await Draining(there).drainer.drain() == draining.LONGEST_SLEEP_SECONDS


async def test_policy_stop_stops_and_what_is_stopped_still_holds(there: World) -> None:
    made = await there.created()
    work = Draining(there)
    await begin(there, DrainPolicy.STOP)
    await work.drainer.drain()
    await there.settle(made.id)
    await work.drainer.drain()
    assert (await there.sandbox(made.id)).state is SandboxState.STOPPED
    assert (await status(there)).host.state is HostState.DRAINING
    assert len(work.woken) == 1


@pytest.mark.parametrize(
    ("on_deadline", "desired"),
    [
        (OnDeadline.KEEP, DesiredState.RUNNING),
        (OnDeadline.STOP, DesiredState.STOPPED),
        (OnDeadline.DESTROY, DesiredState.DESTROYED),
    ],
)
async def test_what_is_left_at_the_deadline(
    there: World, on_deadline: OnDeadline, desired: DesiredState
) -> None:
    made = await there.created()
    work = Draining(there)
    await begin(there, DrainPolicy.EXPIRE, deadline_seconds=5, on_deadline=on_deadline)
    there.clock.advance(5)
    await work.drainer.drain()
    assert (await there.sandbox(made.id)).desired_state is desired


async def test_another_daemon_goes_on_in_the_middle(there: World) -> None:
    made = [await there.created() for _ in range(2)]
    await begin(there)
    await Draining(there).drainer.drain()
    await there.settle(made[0].id)

    work = Draining(there)
    await work.drainer.drain()
    await there.settle(made[1].id)
    await work.drainer.drain()
    assert (await status(there)).host.state is HostState.DRAINED
    assert work.woken == []


async def test_an_abort_in_the_middle_stops_what_was_not_begun(
    there: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "MOST_WISHES", 1)
    made = [await there.created() for _ in range(3)]
    work = Draining(there)
    await begin(there)
    assert await work.drainer.drain() == 0.0
    await there.services.drains.abort("alpha", "", INTENT)
    await work.drainer.drain()

    desired = [(await there.sandbox(one.id)).desired_state for one in made]
    assert desired == [DesiredState.DESTROYED, DesiredState.RUNNING, DesiredState.RUNNING]
    now = await status(there)
    assert (now.drain.state, now.host.state) == (DrainState.ABORTED, HostState.CORDONED)


async def test_an_abort_between_plan_and_write_wins(there: World) -> None:
    made = await there.created()
    work = Draining(there)
    await begin(there)
    drain = (await status(there)).drain
    await there.services.drains.abort("alpha", "", INTENT)
    advance = await work.drainer._advance(drain)
    assert advance.woken == ()
    assert (await there.sandbox(made.id)).desired_state is DesiredState.RUNNING


async def test_a_delete_is_never_turned_into_a_stop(there: World) -> None:
    made = await there.created()
    work = Draining(there)
    await begin(there, DrainPolicy.STOP)
    drain = (await status(there)).drain
    await there.services.sandboxes.destroy(made.id, OWNER)
    await work.drainer._advance(drain)
    assert (await there.sandbox(made.id)).desired_state is DesiredState.DESTROYED


async def test_many_are_written_a_part_at_a_time(
    there: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "MOST_WISHES", 2)
    for _ in range(5):
        await there.created()
    work = Draining(there)
    await begin(there)
    assert [await work.drainer.drain() for _ in range(3)] == [0.0, 0.0, None]
    assert len(set(work.woken)) == 5


async def test_a_drain_of_a_host_that_was_removed_ends(there: World) -> None:
    await begin(there)
    drain = (await status(there)).drain
    host = await there.host()
    await there.store.submit(lambda tx: tx.hosts.remove(host.id))
    work = Draining(there)
    assert await work.drainer.drain() is None
    ended = await there.store.read(lambda tx: tx.drains.get(drain.id))
    assert ended.state is DrainState.ABORTED
    [event] = [event for event in await there.events() if event.kind == "drain.aborted"]
    assert (event.reason_code, event.evidence["drain_id"]) == ("host_removed", drain.id)
    assert await work.drainer.drain() is None
    assert work.changed == [host.id]
    assert work.ended == ["aborted"]


async def test_a_host_in_another_state_keeps_its_drain_and_the_loop_goes_on(there: World) -> None:
    await begin(there)
    host = await there.host()
    await there.store.submit(
        lambda tx: tx.hosts.set_state(
            host.id, HostState.DRAINING, HostState.CORDONED, at=there.clock.now()
        )
    )
    assert await Draining(there).drainer.drain() is None
    assert (await status(there)).drain.state is DrainState.ACTIVE


async def test_progress_alone_is_written_too(there: World) -> None:
    made = [await there.created() for _ in range(2)]
    await begin(there, DrainPolicy.EXPIRE)
    drain = (await status(there)).drain
    await there.store.submit(lambda tx: tx.drains.replace(replace(drain, remaining=7)))
    work = Draining(there)
    await work.drainer.drain()
    assert (await status(there)).drain.remaining == len(made)
    assert work.woken == []
