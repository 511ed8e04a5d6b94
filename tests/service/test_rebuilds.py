"""An empty database is restored from the marks: all that can be, and nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.errors import Conflict, NotFound, Unavailable
from scheduler.lifecycle.restoration import LEAST_LEASE_SECONDS
from scheduler.model import DesiredState, DomainState, SandboxState
from scheduler.service.idempotency import KeptAnswers
from scheduler.service.intents import Answer, Intent, Key
from scheduler.service.rebuilds import AT_ONCE, Outcome, RebuildReport
from scheduler.service.requests import RebuildFleet
from scheduler.service.sightings import Unseen
from scheduler.store import Transaction
from tests.clocks import ManualClock
from tests.service.machines import Machine, lost, machine
from tests.service.planes import ME, Plane
from tests.waits import until_answer

INTENT: Intent[RebuildReport] = Intent(actor=ME)


@pytest.fixture
async def alpha(cloud: Plane) -> Machine:
    return await machine(cloud)


@pytest.fixture
async def beta(cloud: Plane) -> Machine:
    await cloud.add_host("beta")
    return await machine(cloud, "beta")


async def rebuild(cloud: Plane, **fields: object) -> RebuildReport:
    request = RebuildFleet.model_validate({"reason": "the disk died", **fields})
    return await cloud.services.rebuilds.rebuild(request, INTENT)


async def preview(cloud: Plane, **fields: object) -> RebuildReport:
    return await cloud.services.rebuilds.preview(RebuildFleet.model_validate(fields))


async def assert_consistent(cloud: Plane) -> None:
    assert await cloud.store.read(lambda tx: tx.allocations.audit()) == ()
    held = await cloud.store.read(lambda tx: tx.allocations.all())
    live = await cloud.store.read(lambda tx: tx.sandboxes.live())
    assert sorted(one.sandbox_id for one in held) == sorted(one.id for one in live)


async def test_every_sandbox_of_every_host_is_back(
    cloud: Plane, alpha: Machine, beta: Machine
) -> None:
    gone = [
        lost(alpha, "one", labels={"team": "a"}),
        lost(alpha, "two", ttl_seconds=None),
        lost(beta, "three"),
    ]
    beta.holds(gone[2], DomainState.SHUT_OFF)
    alpha.see()
    beta.see()
    cloud.woken.clear()
    report = await rebuild(cloud)
    assert (report.complete, report.dry_run) == (True, False)
    assert [(one.outcome, one.sandbox_id) for one in report.sandboxes] == [
        (Outcome.RESTORED, box.id) for box in sorted(gone, key=lambda box: box.id)
    ]
    assert sorted(cloud.woken) == sorted(box.id for box in gone)
    for box in gone:
        back = await cloud.services.sandboxes.get(box.id)
        assert (back.sandbox_name, back.mac, back.domain_uuid, back.labels) == (
            box.sandbox_name,
            box.mac,
            box.domain_uuid,
            box.labels,
        )
    three = await cloud.services.sandboxes.get("three")
    assert (three.state, three.desired_state) == (SandboxState.STOPPED, DesiredState.STOPPED)
    await assert_consistent(cloud)


async def test_a_rebuild_with_a_used_key_is_answered_as_before_or_refused_and_restores_nothing(
    cloud: Plane, alpha: Machine
) -> None:
    def again(body: str) -> Awaitable[RebuildReport | Answer]:
        return KeptAnswers(cloud.store, cloud.clock).once(
            Key(actor=ME, route="rebuild", key="k", body_hash=body),
            lambda report: Answer(status=200, text=str(len(report.sandboxes))),
            lambda intent: cloud.services.rebuilds.rebuild(RebuildFleet(), intent),
        )

    await again("one")
    gone = lost(alpha)
    alpha.see()
    assert await again("one") == Answer(status=200, text="0")
    with pytest.raises(Conflict, match="used before for a different request"):
        await again("another")
    with pytest.raises(NotFound):
        await cloud.services.sandboxes.get(gone.id)


async def test_events_tell_of_each_and_of_the_whole(cloud: Plane, alpha: Machine) -> None:
    gone = lost(alpha)
    alpha.see()
    await rebuild(cloud)
    events = await cloud.store.read(lambda tx: tx.events.find())
    told = {event.kind: event for event in events}
    assert (told["sandbox.rebuilt"].sandbox_id, told["sandbox.rebuilt"].actor) == (gone.id, ME)
    assert "the disk died" in told["sandbox.rebuilt"].message
    assert told["fleet.rebuilt"].reason_code == "complete"


async def test_i10_nothing_rebuilt_ends_early(
    cloud: Plane, alpha: Machine, clock: ManualClock
) -> None:
    long, short, endless = (
        lost(alpha, "long", ttl_seconds=86400),
        lost(alpha, "short", ttl_seconds=60),
        lost(alpha, "endless", ttl_seconds=None),
    )
    clock.advance(timedelta(days=30).total_seconds())
    alpha.see()
    await rebuild(cloud)
    now = clock.now()
    ends = {
        name: (await cloud.services.sandboxes.get(name)).expires_at
        for name in ("long", "short", "endless")
    }
    assert ends == {
        "long": now + timedelta(days=1),
        "short": now + timedelta(seconds=LEAST_LEASE_SECONDS),
        "endless": None,
    }
    assert {long.id, short.id, endless.id} == {
        one.id for one in await cloud.store.read(lambda tx: tx.sandboxes.live())
    }


async def test_again_is_harmless(cloud: Plane, alpha: Machine) -> None:
    lost(alpha, "one")
    lost(alpha, "two")
    alpha.see()
    await rebuild(cloud)
    before = await cloud.store.read(lambda tx: tx.sandboxes.live())
    again = await rebuild(cloud)
    assert (again.sandboxes, again.complete) == ((), True)
    assert await cloud.store.read(lambda tx: tx.sandboxes.live()) == before
    await assert_consistent(cloud)


async def test_one_cut_short_is_finished_by_the_next(
    cloud: Plane, alpha: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = [lost(alpha, f"box-{n}", vcpus=1, memory_mb=64) for n in range(5)]
    await cloud.poll(alpha.host, total_cpus=100)
    alpha.see()
    submit, left = cloud.store.submit, [3]

    async def cut(unit: object) -> object:
        if not left[0]:
            raise Unavailable("the machine died here")
        left[0] -= 1
        return await submit(unit)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(type(cloud.store), "submit", lambda _, unit: cut(unit))
        with pytest.raises(Unavailable):
            await rebuild(cloud)
    some: set[str] = set()

    async def three_are_back() -> bool:
        some.update(one.id for one in await cloud.store.read(lambda tx: tx.sandboxes.live()))
        return len(some) == 3

    await until_answer(three_are_back, what="what was under way is committed")
    await assert_consistent(cloud)

    report = await rebuild(cloud)
    assert report.complete
    assert {one.sandbox_id for one in report.sandboxes} == {box.id for box in gone} - some
    await assert_consistent(cloud)


async def test_two_at_once_restore_each_sandbox_once(cloud: Plane, alpha: Machine) -> None:
    await cloud.poll(alpha.host, total_cpus=1000, total_memory_mb=1_000_000)
    count = AT_ONCE + 5
    for n in range(count):
        lost(alpha, f"box-{n}", vcpus=1, memory_mb=64, storage_mb=64)
    alpha.see()
    reports = await asyncio.gather(rebuild(cloud), rebuild(cloud))
    restored = [
        one.sandbox_id
        for report in reports
        for one in report.sandboxes
        if one.outcome is Outcome.RESTORED
    ]
    assert len(restored) == len(set(restored)) == count
    await assert_consistent(cloud)


async def test_what_is_in_the_way_is_named_and_the_others_are_restored(
    cloud: Plane, alpha: Machine, beta: Machine
) -> None:
    await cloud.create(sandbox_name="taken")
    taken, fine = lost(alpha, "taken"), lost(alpha, "fine")
    huge, twin = lost(beta, "huge", vcpus=9), lost(alpha, "twin")
    beta.holds(twin)
    alpha.see()
    beta.see()
    for report in (await preview(cloud), await rebuild(cloud)):
        became = {one.sandbox_id: one for one in report.sandboxes}
        assert became[fine.id].outcome is Outcome.RESTORED
        assert "was given to" in became[taken.id].message
        assert "cpu has" in became[huge.id].message
        assert "2 hosts have a domain" in became[twin.id].message
        assert all(one.remedy for one in report.sandboxes if one.outcome is Outcome.BLOCKED)
        assert not report.complete
    await assert_consistent(cloud)
    forced = await rebuild(cloud, force=True)
    assert {one.sandbox_id: one.outcome for one in forced.sandboxes}[huge.id] == Outcome.RESTORED
    await assert_consistent(cloud)


async def test_the_running_one_of_two_copies_is_the_sandbox(
    cloud: Plane, alpha: Machine, beta: Machine
) -> None:
    twin = lost(alpha)
    alpha.holds(twin, DomainState.SHUT_OFF)
    beta.holds(twin)
    alpha.see()
    beta.see()
    (one,) = (await rebuild(cloud)).sandboxes
    assert (one.outcome, one.host_name) == (Outcome.RESTORED, "beta")


async def test_a_preview_tells_the_same_and_changes_nothing(cloud: Plane, alpha: Machine) -> None:
    lost(alpha, "one")
    lost(alpha, "taken")
    lost(alpha, "two")
    await cloud.create(sandbox_name="taken", vcpus=1)
    await alpha.see_and_record()
    before = await cloud.store.read(_everything)
    planned = await preview(cloud)
    assert planned.dry_run
    assert await cloud.store.read(_everything) == before
    done = await rebuild(cloud)
    assert [replace(one, message="") for one in done.sandboxes] == [
        replace(one, message="") for one in planned.sandboxes
    ]
    assert {one.domain_name: one.outcome for one in done.sandboxes} == {
        "one": Outcome.RESTORED,
        "taken": Outcome.BLOCKED,
        "two": Outcome.RESTORED,
    }


async def test_a_host_that_nobody_saw_makes_it_incomplete(
    cloud: Plane, alpha: Machine, beta: Machine
) -> None:
    lost(alpha)
    alpha.see()
    report = await rebuild(cloud)
    assert not report.complete
    assert [host.host_name for host in report.hosts if not host.audited] == ["beta"]
    events = await cloud.store.read(lambda tx: tx.events.find())
    assert events[-1].evidence == {"hosts_not_seen": ["beta"]}


async def test_tombstones_and_strangers_are_left_alone(cloud: Plane, alpha: Machine) -> None:
    buried = await cloud.create()
    await cloud.bury(buried)
    alpha.holds(buried)
    stranger = lost(alpha)
    uuid = str(stranger.domain_uuid)
    alpha.domains[uuid] = replace(alpha.domains[uuid], mark=None)
    alpha.see()
    report = await rebuild(cloud)
    assert (report.sandboxes, report.complete) == ((), True)
    assert await cloud.store.read(lambda tx: tx.sandboxes.live()) == ()


def _everything(tx: Transaction) -> tuple[object, ...]:
    return tx.hosts.all(), tx.sandboxes.live(), tx.volumes.all(), tx.events.latest()


async def test_a_host_that_falls_silent_meanwhile_blocks_what_is_on_it(
    cloud: Plane, alpha: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost(alpha)
    alpha.see()
    submit = cloud.store.submit

    async def miss_a_poll_first(unit: object) -> object:
        cloud.listings.lost(alpha.host.id)
        return await submit(unit)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(type(cloud.store), "submit", lambda _, unit: miss_a_poll_first(unit))
        report = await rebuild(cloud)
    (one,) = report.sandboxes
    assert (one.outcome, one.message) == (Outcome.BLOCKED, "host alpha has not answered since")
    assert await cloud.store.read(lambda tx: tx.sandboxes.live()) == ()


def test_a_daemon_without_loops_has_seen_nothing() -> None:
    unseen = Unseen()
    assert (unseen.latest("h"), unseen.previous("h"), unseen.mutated_at("s")) == (None, None, None)
