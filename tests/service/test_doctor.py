"""The doctor asks the store and what was seen; a database that is away is a finding."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.control.pace import Keep
from scheduler.control.retention import Retention
from scheduler.diagnosis.checks import CONTROL_NODE, Check, Verdict
from scheduler.errors import ReadOnly, Unavailable
from scheduler.model import Event, HostHealth
from scheduler.service import doctor
from scheduler.service.doctor import DoctorService
from scheduler.service.sightings import Sightings
from scheduler.store import Store
from tests.clocks import ManualClock
from tests.diagnosis.samples import NODE
from tests.service.machines import machine
from tests.service.planes import Plane


async def examined(cloud: Plane) -> dict[tuple[str, str], Check]:
    report = await cloud.services.doctor.examine()
    assert report.at == cloud.clock.now()
    assert report.healthy == all(one.verdict is not Verdict.FAILED for one in report.checks)
    return {(check.subject, check.name): check for check in report.checks}


async def test_a_host_is_judged_by_what_was_last_seen(cloud: Plane) -> None:
    before = await examined(cloud)
    assert before["alpha", "pool"].verdict is Verdict.UNKNOWN
    alpha = await machine(cloud)
    alpha.see()
    after = await examined(cloud)
    assert after["alpha", "pool"].verdict is Verdict.OK
    assert after[CONTROL_NODE, "fleet"].message == "1 hosts are known"
    await cloud.poll(alpha.host, health=HostHealth.DOWN, health_reason="no route")
    assert (await examined(cloud))["alpha", "reach"].verdict is Verdict.FAILED


async def test_the_control_node_is_looked_at_when_somebody_can(cloud: Plane) -> None:
    assert (CONTROL_NODE, "loops") not in await examined(cloud)
    sick = DoctorService(
        cloud.store,
        cloud.clock,
        sightings=Sightings(
            cloud.listings, cloud.clock, wake=lambda _: None, stale_after_seconds=60
        ),
        node=lambda: replace(NODE, stuck=("reap hangs",)),
    )
    report = await sick.examine()
    assert not report.healthy
    assert [check.subject for check in report.checks][-1] == "alpha"


async def test_steps_of_the_clock_are_told_for_a_day(cloud: Plane, clock: ManualClock) -> None:
    step = Event(at=clock.now(), kind="clock.stepped", evidence={"seconds": -90.5})
    await cloud.store.submit(lambda tx: tx.events.add(step))
    told = (await examined(cloud))[CONTROL_NODE, "clock"]
    assert (told.verdict, "-90.5 s" in told.message) == (Verdict.WARNING, True)
    clock.advance(timedelta(days=1, seconds=1).total_seconds())
    assert (await examined(cloud))[CONTROL_NODE, "clock"].verdict is Verdict.OK


async def test_a_clock_that_is_doubted_is_told(cloud: Plane, clock: ManualClock) -> None:
    keep = Retention(cloud.store, clock, Keep())
    await keep.sweep()
    clock.set_wall(timedelta(days=900).total_seconds())
    await keep.sweep()
    told = (await examined(cloud))[CONTROL_NODE, "clock"]
    assert (told.verdict, "far ahead" in told.message) == (Verdict.WARNING, True)


class Full(Store):
    async def ping_writer(self) -> None:
        raise ReadOnly("the database's disk is full", remedy="Free space.")


class Hung(Store):
    async def ping_writer(self) -> None:
        await asyncio.Event().wait()


class Away(Store):
    async def read(self, unit: object) -> object:  # type: ignore[override]
        raise Unavailable("the database does not answer", remedy="Look at its server.")


@pytest.mark.parametrize(
    ("kind", "message", "sees_hosts"),
    [
        (Full, "the database's disk is full; Free space.", True),
        (Hung, "its writer did not answer in 0.01 s", True),
        (Away, "the database does not answer; Look at its server.", False),
    ],
)
async def test_a_sick_store_is_a_finding(
    cloud: Plane,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Store],
    message: str,
    sees_hosts: bool,
) -> None:
    monkeypatch.setattr(doctor, "WRITER_SECONDS", 0.01)
    cloud.store.__class__ = kind
    try:
        checks = await examined(cloud)
    finally:
        cloud.store.__class__ = Store
    assert checks[CONTROL_NODE, "database"].verdict is Verdict.FAILED
    assert checks[CONTROL_NODE, "database"].message == message
    assert (("alpha", "reach") in checks) == sees_hosts
