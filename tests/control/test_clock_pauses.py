"""No pause is longer for a step of the wall clock, and none for a clock that was wrong before."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from datetime import timedelta

import pytest

from scheduler import model
from scheduler.changes.publications import pause_seconds
from scheduler.control.clock_guard import ClockGuard
from scheduler.errors import Conflict, HostRefused
from scheduler.model import (
    Breaker,
    Image,
    ImageState,
    Publication,
    PublicationStatus,
    Replica,
    SandboxState,
)
from scheduler.store import Transaction
from tests.control.imagery import Imagery
from tests.control.world import ME, World
from tests.hosts.fake import FakeDriver

HOUR = 3600


@pytest.fixture
async def alpha(there: World) -> FakeDriver:
    (driver,) = there.drivers.by_host.values()
    assert isinstance(driver, FakeDriver)
    return driver


@pytest.fixture
def imagery(there: World) -> Imagery:
    return Imagery(there)


async def replica_of(imagery: Imagery, image: Image) -> Replica:
    found = await imagery.replica(image)
    assert found is not None
    return found


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_a_copy_that_failed_waits_as_long_as_it_would_have(
    there: World, alpha: FakeDriver, imagery: Imagery, step: int
) -> None:
    guard = ClockGuard(there.store, there.clock)
    await guard.watch()
    image = await imagery.ready()
    await imagery.prefetch(image)
    alpha.fail("create_replica", HostRefused("a hiccup"), times=2)
    assert await imagery.replicate(image) == 1.0
    there.clock.advance(1.0)
    assert await imagery.replicate(image) == 2.0
    there.clock.set_wall(step)
    await guard.watch()
    assert (await replica_of(imagery, image)).attempts == 2
    assert await imagery.replicate(image) == pytest.approx(2.0)
    there.clock.advance(2.1)
    assert await imagery.replicate(image) is None


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_a_copy_that_fails_between_a_step_and_its_shift_waits_no_longer(
    there: World, alpha: FakeDriver, imagery: Imagery, step: int
) -> None:
    guard = ClockGuard(there.store, there.clock)
    await guard.watch()
    image = await imagery.ready()
    await imagery.prefetch(image)
    there.clock.set_wall(step)
    alpha.fail("create_replica", HostRefused("a hiccup"))
    assert await imagery.replicate(image) == 1.0
    await guard.watch()
    assert (await imagery.replicate(image) or 0.0) <= 1.0


async def test_a_build_waits_for_no_copy_that_failed_while_the_clock_was_ahead(
    there: World, alpha: FakeDriver, imagery: Imagery
) -> None:
    """The clock is set right across a reboot, so nothing tells by how much."""
    image = await imagery.ready()
    there.clock.set_wall(HOUR)
    await ClockGuard(there.store, there.clock).watch()
    await there.look()
    made = await there.create(base_image=image.name)
    await there.converger.converge(made.id)
    alpha.fail("create_replica", HostRefused("a hiccup"))
    assert await imagery.replicate(image) == 1.0
    there.clock.reboot()
    there.clock.set_wall(-HOUR)
    await ClockGuard(there.store, there.clock).watch()
    await there.look()
    assert await imagery.replicate(image) is None
    await there.settle(made.id)
    assert (await there.sandbox(made.id)).state is SandboxState.RUNNING


def publication(there: World, **given: object) -> Publication:
    now = there.clock.now()
    fields: dict[str, object] = {
        "id": "PUB-1",
        "job_id": "JOB-1",
        "repo_url": "https://forge.example/infra/site.git",
        "branch": "change/one",
        "change_set_id": "CHG-1",
        "folder": "sandboxd/JOB-1",
        "title": "Apply it",
        "status": PublicationStatus.PR_CREATED,
        "created_at": now,
        "updated_at": now,
    }
    return Publication(**fields | given)  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_what_a_breaker_writes_between_a_step_and_its_shift_is_moved_once(
    there: World, alpha: FakeDriver, step: int
) -> None:
    guard, began = ClockGuard(there.store, there.clock), there.clock.monotonic()
    await guard.watch()
    alpha.fail("define", HostRefused("no space"), times=10_000)
    boxes = [await there.create() for _ in range(5)]
    for box in boxes[:2]:
        await there.settle(box.id)
    await there.converger.converge(boxes[2].id)

    there.clock.set_wall(step)
    await there.settle(boxes[2].id)
    (opened,) = (await there.host()).breakers
    assert (opened.retry_at - opened.since).total_seconds() == 60
    await guard.watch()
    (opened,) = (await there.host()).breakers
    waits = opened.retry_at - there.clock.now()
    assert timedelta(seconds=0) < waits <= timedelta(seconds=60)
    assert there.clock.monotonic() - began < HOUR

    there.clock.advance(waits.total_seconds() - 1)
    host = await there.host()
    assert there.breakers.barred(boxes[3], host, now=there.clock.now()) is not None
    there.clock.set_wall(step)
    with pytest.raises(Conflict):
        await there.breakers.admit(boxes[3], host)
    await guard.watch()
    there.clock.advance(1)
    there.clock.set_wall(step)
    await there.breakers.admit(boxes[3], await there.host())
    await guard.watch()
    (probing,) = (await there.host()).breakers
    assert (probing.probe, probing.retry_at) == (
        boxes[3].id,
        there.clock.now() + timedelta(seconds=60),
    )


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_publications_breakers_and_uploads_follow(
    there: World, alpha: FakeDriver, step: int
) -> None:
    guard = ClockGuard(there.store, there.clock)
    await guard.watch()
    now = there.clock.now()
    in_a_minute = now + timedelta(seconds=60)
    waiting = publication(there, retry_at=in_a_minute, opened_at=now)
    barred = Breaker(reason="no room", since=now, retry_at=in_a_minute)
    upload = Image(
        id="IMG-1",
        name="slow",
        state=ImageState.RECEIVING,
        actor=ME,
        created_at=now,
        updated_at=now,
    )
    (host,) = await there.store.read(lambda tx: tx.hosts.all())

    def record(tx: Transaction) -> None:
        tx.publications.add(waiting)
        tx.publications.add(publication(there, id="PUB-2", branch="change/two"))
        tx.hosts.set_breakers(host.id, (barred,), at=now)
        tx.images.add(upload)

    await there.store.submit(record)
    there.clock.advance(10)
    there.clock.set_wall(step)
    await guard.watch()

    by, later = timedelta(seconds=step), there.clock.now()
    moved = await there.store.read(lambda tx: tx.publications.get("PUB-1"))
    assert (moved.retry_at, moved.opened_at) == (in_a_minute + by, now + by)
    assert pause_seconds(moved, later) == 50
    other = await there.store.read(lambda tx: tx.publications.get("PUB-2"))
    assert (other.retry_at, other.opened_at) == (None, None)
    (one,) = (await there.store.read(lambda tx: tx.hosts.get(host.id))).breakers
    assert one == replace(barred, since=now + by, retry_at=in_a_minute + by)
    image = await there.store.read(lambda tx: tx.images.get("IMG-1"))
    assert image.updated_at == now + by


def test_no_moment_to_come_is_forgotten() -> None:
    """Whoever records another one has the clock guard move it, and then says so here."""
    ahead = ("retry_at", "expires_at", "deadline_at", "valid_until", "due_at", "next_at")
    found = {
        f"{name}.{field.name}"
        for name in model.__all__
        if is_dataclass(kind := getattr(model, name))
        for field in fields(kind)
        if field.name in ahead
    }
    assert found == {
        "Breaker.retry_at",
        "Drain.deadline_at",
        "Publication.retry_at",
        "Replica.retry_at",
        "Sandbox.expires_at",
        "Sandbox.retry_at",
        "SshCertificate.valid_until",  # signed, and counted by the guest's own clock
    }
