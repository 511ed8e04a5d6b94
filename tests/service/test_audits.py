"""Audits over a real store: dry unless told to heal, and healing only what is beyond doubt."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from scheduler.errors import Conflict, Unreadable
from scheduler.lifecycle.findings import FindingCode
from scheduler.lifecycle.orphans import Budget, OrphanCode
from scheduler.model import DomainState, Event, HostHealth, Sandbox
from scheduler.service.audits import AuditReport, AuditService, HealReport
from scheduler.service.idempotency import KeptAnswers
from scheduler.service.intents import Answer, Intent, Key
from scheduler.service.leftovers import ORPHAN_EVENT
from scheduler.service.sightings import Sightings
from scheduler.store import EventFilter, Transaction
from scheduler.store.statements import Statement
from scheduler.store.tables import HOSTS
from tests.clocks import ManualClock
from tests.service.machines import Machine, built, lost, machine, volumes_of
from tests.service.planes import ME, Plane
from tests.waits import DEADLINE_SECONDS, until

INTENT: Intent[HealReport] = Intent(actor=ME)


@pytest.fixture
async def alpha(cloud: Plane) -> Machine:
    return await machine(cloud)


async def destroyed(alpha: Machine) -> Sandbox:
    """A sandbox that was destroyed a while ago and is on its machine all the same."""
    plane = alpha.plane
    sandbox = await plane.create()
    buried = await plane.bury(sandbox)
    alpha.holds(sandbox)
    alpha.see()
    return buried


def codes(report: AuditReport) -> list[str]:
    return [finding.code for finding in report.findings]


async def told(plane: Plane) -> Sequence[Event]:
    return await plane.store.read(lambda tx: tx.events.find(0, EventFilter(kind=ORPHAN_EVENT)))


async def test_a_fleet_in_order_is_clean(cloud: Plane, alpha: Machine) -> None:
    await built(alpha, await cloud.create())
    alpha.see(times=2)
    report = await cloud.services.audits.audit()
    assert (report.clean, report.findings, report.orphans) == (True, (), ())
    (host,) = report.hosts
    assert (host.audited, host.domains, host.age_seconds) == (True, 1, 0)


async def test_what_nobody_saw_is_not_clean(cloud: Plane) -> None:
    report = await cloud.services.audits.audit()
    assert (report.clean, report.findings) == (False, ())
    assert not report.hosts[0].audited
    assert "not been listed" in str(report.hosts[0].reason)


async def test_an_old_listing_is_not_believed(
    cloud: Plane, alpha: Machine, clock: ManualClock
) -> None:
    alpha.see(times=2)
    clock.advance(61)
    report = await cloud.services.audits.audit()
    assert not report.clean
    assert report.hosts[0].age_seconds == 61


async def test_what_is_missing_and_what_is_too_much_is_told(cloud: Plane, alpha: Machine) -> None:
    box = await built(alpha, await cloud.create())
    alpha.domains.clear()
    stranger = lost(alpha)
    alpha.see(times=2)
    report = await cloud.services.audits.audit()
    assert codes(report) == [FindingCode.DOMAIN_MISSING]
    assert report.findings[0].sandbox_id == box.id
    assert [(one.code, one.sandbox_id) for one in report.orphans] == [
        (OrphanCode.NO_RECORD, stranger.id)
    ]


async def test_an_audit_changes_nothing(cloud: Plane, alpha: Machine) -> None:
    await destroyed(alpha)
    await cloud.store.submit(_falsify)
    before = await cloud.store.read(lambda tx: (tx.hosts.all(), tx.events.latest()))
    report = await cloud.services.audits.audit()
    assert codes(report) == [FindingCode.LEDGER_MISCOUNT]
    assert report.findings[0].healable
    assert await cloud.store.read(lambda tx: (tx.hosts.all(), tx.events.latest())) == before


async def test_healing_sets_counters_right_and_says_who_asked(cloud: Plane) -> None:
    sandbox = await cloud.create()
    await cloud.store.submit(_falsify)
    report = await cloud.services.audits.heal(0, INTENT)
    assert report.counters == ("alpha",)
    assert codes(report.after) == []
    assert await cloud.store.read(lambda tx: tx.allocations.audit()) == ()
    assert cloud.fleet.hosts()[0].reserved_cpus == sandbox.vcpus
    healed = await cloud.store.read(lambda tx: tx.events.find(0, EventFilter(kind="ledger.healed")))
    assert [event.actor for event in healed] == [ME]


async def test_healing_with_a_used_key_is_answered_as_before_or_refused_and_heals_nothing(
    cloud: Plane,
) -> None:
    def heal(body: str) -> Awaitable[HealReport | Answer]:
        return KeptAnswers(cloud.store, cloud.clock).once(
            Key(actor=ME, route="heal", key="k", body_hash=body),
            lambda report: Answer(status=200, text=",".join(report.counters)),
            lambda intent: cloud.services.audits.heal(0, intent),
        )

    await cloud.create()
    await heal("one")
    await cloud.store.submit(_falsify)
    assert await heal("one") == Answer(status=200, text="")
    with pytest.raises(Conflict, match="used before for a different request"):
        await heal("another")
    assert await cloud.store.read(lambda tx: tx.allocations.audit()) != ()


async def test_healing_lists_what_a_destroyed_sandbox_left_and_wakes_the_loop(
    cloud: Plane, alpha: Machine
) -> None:
    buried = await destroyed(alpha)
    cloud.woken.clear()
    report = await cloud.services.audits.heal(0, INTENT)
    assert [one.sandbox_id for one in report.condemned] == [buried.id]
    assert (report.held, cloud.woken) == (0, [alpha.host.id])
    listed = await cloud.store.read(lambda tx: tx.volumes.of_owner(buried.id))
    assert {volume.name for volume in listed} == {
        volume.name for volume in volumes_of(buried, alpha.host)
    }
    (event,) = await told(cloud)
    assert (event.actor, event.reason_code, event.sandbox_id) == (ME, "reappeared", buried.id)
    assert FindingCode.LEFTOVER in codes(report.after)


async def test_healing_touches_nothing_else(cloud: Plane, alpha: Machine) -> None:
    stranger = lost(alpha)
    forged = replace(alpha.domains[stranger.domain_uuid or ""], uuid="f" * 8, forged=True)
    alpha.domains["f"] = replace(forged, mark=None)
    alpha.volumes["sbx-precious.img"] = replace(
        next(iter(alpha.volumes.values())), name="sbx-precious.img"
    )
    alpha.see(times=2)
    report = await cloud.services.audits.heal(0, INTENT)
    assert (report.counters, report.condemned, report.held) == ((), (), 0)
    assert {one.code for one in report.after.orphans} == {
        OrphanCode.NO_RECORD,
        OrphanCode.FORGED_MARK,
        OrphanCode.UNLISTED_VOLUME,
    }
    assert await cloud.store.read(lambda tx: tx.volumes.all()) == ()
    assert await told(cloud) == ()


async def test_healing_keeps_to_the_budget_of_removals_nobody_asked_for(
    cloud: Plane, alpha: Machine, clock: ManualClock
) -> None:
    sightings = Sightings(
        cloud.listings, clock, wake=cloud.woken.append, stale_after_seconds=10_000
    )
    audits = AuditService(
        cloud.store,
        clock,
        sightings=sightings,
        fleet=cloud.fleet,
        journal=cloud.journal,
        wake=cloud.woken.append,
        budget=Budget(a_pass=2, an_hour=3),
    )
    for _ in range(5):
        await destroyed(alpha)
    first = await audits.heal(0, INTENT)
    assert (len(first.condemned), first.held) == (2, 3)
    second = await audits.heal(0, INTENT)
    assert len({one.sandbox_id for one in (*first.condemned, *second.condemned)}) == 3
    assert (len((await audits.heal(0, INTENT)).condemned)) == 0
    clock.advance(timedelta(hours=1).total_seconds())
    assert len((await audits.heal(0, INTENT)).condemned) == 2


async def test_what_went_since_the_listing_is_not_condemned(cloud: Plane, alpha: Machine) -> None:
    buried = await destroyed(alpha)
    document = dict(alpha.domains[buried.domain_uuid or ""].mark.document)  # type: ignore[union-attr]
    mark = replace(
        alpha.domains[buried.domain_uuid or ""].mark,  # type: ignore[type-var]
        text=json.dumps({**document, "format": 7}),
    )
    alpha.domains[buried.domain_uuid or ""] = replace(
        alpha.domains[buried.domain_uuid or ""], mark=mark
    )
    alpha.see()
    report = await cloud.services.audits.heal(0, INTENT)
    assert (report.condemned, report.held) == ((), 1)
    assert await told(cloud) == ()


async def test_healing_waits_for_the_loop_as_long_as_it_is_told(
    cloud: Plane, alpha: Machine, clock: ManualClock
) -> None:
    buried = await destroyed(alpha)

    async def loop() -> None:
        """Do what the poller and the leftovers' loop do once woken."""
        while not await cloud.store.read(lambda tx: tx.volumes.of_owner(buried.id)):
            alpha.see()
        alpha.domains.clear()
        alpha.volumes.clear()
        await cloud.store.submit(lambda tx: _strike(tx, buried))
        cloud.journal.poke()

    async def poller() -> None:
        while True:
            await asyncio.sleep(0.01)
            alpha.see()

    polling = asyncio.create_task(poller())
    healing = asyncio.create_task(cloud.services.audits.heal(10_000, INTENT))
    await asyncio.wait_for(loop(), DEADLINE_SECONDS)
    report = await asyncio.wait_for(healing, DEADLINE_SECONDS)
    polling.cancel()
    assert len(report.condemned) == 1
    assert report.after.clean


async def test_a_fresh_look_is_asked_for_and_awaited(
    cloud: Plane, alpha: Machine, clock: ManualClock
) -> None:
    alpha.see()
    cloud.woken.clear()
    auditing = asyncio.create_task(cloud.services.audits.audit(30))
    await until(lambda: bool(cloud.woken))
    assert cloud.woken == [alpha.host.id]
    alpha.domains["x"] = replace(
        alpha.holds(await cloud.create()), uuid="x", mark=None, state=DomainState.RUNNING
    )
    alpha.see()
    report = await asyncio.wait_for(auditing, DEADLINE_SECONDS)
    assert report.hosts[0].foreign_domains == 1


async def test_nobody_waits_for_a_host_that_is_down_nor_longer_than_told(
    cloud: Plane, alpha: Machine, clock: ManualClock
) -> None:
    await cloud.poll(alpha.host, health=HostHealth.DOWN, health_reason="no route")
    cloud.woken.clear()
    report = await asyncio.wait_for(cloud.services.audits.audit(30), DEADLINE_SECONDS)
    assert "no route" in str(report.hosts[0].reason)
    assert cloud.woken == []

    await cloud.poll(alpha.host)
    waiting = asyncio.create_task(cloud.services.audits.audit(30))
    await until(lambda: bool(cloud.woken))
    clock.advance(31)
    assert not (await asyncio.wait_for(waiting, DEADLINE_SECONDS)).clean


def _falsify(tx: Transaction) -> None:
    """Write a counter behind the ledger's back."""
    tx.cursor.change(Statement(update(HOSTS.table).values(reserved_cpus=7)), ())


def _strike(tx: Transaction, sandbox: Sandbox) -> None:
    for volume in tx.volumes.of_owner(sandbox.id):
        tx.volumes.remove(volume.host_id, volume.pool, volume.name)
    tx.events.add(Event(at=sandbox.updated_at, kind=ORPHAN_EVENT, reason_code="removed"))


async def test_every_audit_is_told_and_watching_asks_no_host(
    cloud: Plane, alpha: Machine, clock: ManualClock
) -> None:
    reports: list[AuditReport] = []
    audits = AuditService(
        cloud.store,
        clock,
        sightings=Sightings(
            cloud.listings, clock, wake=cloud.woken.append, stale_after_seconds=10_000
        ),
        fleet=cloud.fleet,
        journal=cloud.journal,
        wake=cloud.woken.append,
        told=reports.append,
    )
    alpha.see(times=2)
    cloud.woken.clear()
    await audits.watch()
    lost(alpha)
    alpha.see(times=2)
    asked = await audits.audit()
    await audits.watch()
    assert [len(report.orphans) for report in reports] == [0, 1, 1]
    assert reports[1] is asked
    assert cloud.woken == []


async def test_a_row_that_cannot_be_read_leaves_what_was_told_last(
    cloud: Plane, alpha: Machine
) -> None:
    broken = update(HOSTS.table).where(HOSTS.table.c.name == "alpha").values(labels="{")
    await cloud.store.submit(lambda tx: tx.cursor.change(Statement(broken), ()))
    with pytest.raises(Unreadable):
        await cloud.services.audits.audit()
    await cloud.services.audits.watch()
