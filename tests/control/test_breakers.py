"""Hosts that keep failing builds are left alone for a while, then tried with one build."""

from __future__ import annotations

import pytest

from scheduler.errors import (
    CapacityExhausted,
    Conflict,
    ConstraintImpossible,
    HostRefused,
    HostTimeout,
)
from scheduler.model import Breaker, Sandbox, SandboxState
from scheduler.placement.policy import Policy
from scheduler.service.fleet import FleetView
from tests.control.world import IMAGE, World
from tests.hosts.fake import FakeDriver

OTHER = "other.qcow2"


@pytest.fixture
async def two(empty: World) -> World:
    """Two hosts of which the first, alpha, refuses every build of the golden image."""
    await empty.add_seen_host("alpha")
    await empty.add_seen_host("beta")
    (await driver_on(empty, "alpha")).fail("define", HostRefused("no space"), times=10_000)
    return empty


async def driver_on(world: World, name: str) -> FakeDriver:
    driver = world.drivers.by_host[(await world.host(name)).id]
    assert isinstance(driver, FakeDriver)
    return driver


async def failed_on(world: World, name: str, *, times: int = 1, **fields: object) -> Sandbox:
    """Have so many sandboxes fail on a host and come to nothing, as they are pinned to it."""
    for _ in range(times):
        made = await world.create(host=name, **fields)
        await world.settle(made.id)
        made = await world.sandbox(made.id)
        assert made.state is SandboxState.ERROR
    return made


async def breakers_of(world: World, name: str) -> tuple[Breaker, ...]:
    return (await world.host(name)).breakers


async def told(world: World) -> list[str | None]:
    return [event.reason_code for event in await world.events(kind="host.breaker")]


async def test_three_failures_in_a_row_open_it_and_placement_sees_it(two: World) -> None:
    await failed_on(two, "alpha", times=2)
    assert await breakers_of(two, "alpha") == ()
    await failed_on(two, "alpha")
    (one,) = await breakers_of(two, "alpha")
    assert (one.image, one.openings, one.probe, one.reason) == (IMAGE, 1, None, "no space")
    (event,) = await two.events(kind="host.breaker")
    assert event.host_id == (await two.host("alpha")).id
    assert event.message.startswith(f"alpha builds nothing from {IMAGE} until")

    assert (await two.create()).host_name == "beta"
    with pytest.raises(CapacityExhausted) as refused:
        await two.create(host="alpha")
    assert refused.value.details["refusals"] == {"pin": 1, "breaker": 1}


async def test_what_waits_to_be_built_there_goes_elsewhere(two: World) -> None:
    waiting = await two.create()
    pinned = await two.create(host="alpha", provision_timeout_seconds=30)
    assert waiting.host_name == "alpha"
    await failed_on(two, "alpha", times=3)
    asked = (await driver_on(two, "alpha")).calls["define"]

    await two.settle(waiting.id)
    moved = await two.sandbox(waiting.id)
    assert (moved.state, moved.host_name) == (SandboxState.RUNNING, "beta")
    assert two.moves[-1].failure == "breaker_open"
    await two.settle(pinned.id)
    ended = await two.sandbox(pinned.id)
    assert (ended.state, ended.reason_code) == (SandboxState.ERROR, "provision_timeout")
    assert (await driver_on(two, "alpha")).calls["define"] == asked, "nobody knocks at alpha"


async def test_half_open_lets_one_build_through_and_failing_keeps_it_shut_for_longer(
    two: World,
) -> None:
    await failed_on(two, "alpha", times=3)
    two.clock.advance(61)
    await two.look("alpha")
    probe, second = await two.create(host="alpha"), await two.create(host="alpha")
    await two.converger.converge(probe.id)
    (probing,) = await breakers_of(two, "alpha")
    assert probing.probe == probe.id
    asked = (await driver_on(two, "alpha")).calls["define"]
    assert await two.converger.converge(second.id) == 1.0
    assert (await driver_on(two, "alpha")).calls["define"] == asked
    await two.settle(probe.id)

    (again,) = await breakers_of(two, "alpha")
    assert (again.openings, again.probe) == (2, None)
    assert (again.retry_at - again.since).total_seconds() == 120
    assert await told(two) == ["open", "probing", "open"]


async def test_success_closes_it(two: World) -> None:
    await failed_on(two, "alpha", times=3)
    (await driver_on(two, "alpha")).faults.clear()
    two.clock.advance(61)
    await two.look("alpha")
    made = await two.create(host="alpha")
    await two.settle(made.id)
    assert (await two.sandbox(made.id)).state is SandboxState.RUNNING
    assert await breakers_of(two, "alpha") == ()
    assert await told(two) == ["open", "probing", "closed"]
    (await driver_on(two, "alpha")).fail("define", HostRefused("no space"), times=10_000)
    await failed_on(two, "alpha", times=2)
    assert await breakers_of(two, "alpha") == (), "they are counted anew"


async def test_one_probe_at_a_time(two: World) -> None:
    await failed_on(two, "alpha", times=3)
    two.clock.advance(61)
    await two.look("alpha")
    one, other = await two.create(host="alpha"), await two.create(host="alpha")
    host = await two.host("alpha")
    await two.breakers.admit(one, host)
    with pytest.raises(Conflict, match="builds nothing"):
        await two.breakers.admit(other, host)
    await two.breakers.admit(one, await two.host("alpha"))
    assert await told(two) == ["open", "probing"]


async def test_a_probe_that_is_never_heard_of_again_gives_way(two: World) -> None:
    await failed_on(two, "alpha", times=3)
    two.clock.advance(61)
    await two.look("alpha")
    lost, next_one = await two.create(host="alpha"), await two.create(host="alpha")
    await two.breakers.admit(lost, await two.host("alpha"))
    host = await two.host("alpha")
    assert two.breakers.barred(next_one, host, now=two.clock.now()) is not None
    two.clock.advance(61)
    assert two.breakers.barred(next_one, host, now=two.clock.now()) is None
    await two.breakers.admit(next_one, await two.host("alpha"))
    (probing,) = await breakers_of(two, "alpha")
    assert probing.probe == next_one.id


async def test_a_bad_image_opens_its_own_breakers_and_no_host(empty: World) -> None:
    """Every host fails it: it is barred everywhere, and everything else is built as ever."""
    names = ("alpha", "beta", "gamma")
    for name in names:
        driver = await empty.add_host(name)
        driver.host.add_image(OTHER, 10 * 1024)  # larger than what is asked for
    for _ in range(3):
        for name in names:
            await empty.look(name)
        made = await empty.create(base_image=OTHER)
        await empty.settle(made.id)
        failed = await empty.sandbox(made.id)
        assert (failed.state, len(failed.failed_hosts)) == (SandboxState.ERROR, 2)
    for name in names:
        (one,) = (await empty.look(name)).host.breakers
        assert one.image == OTHER
    with pytest.raises(CapacityExhausted) as refused:
        await empty.create(base_image=OTHER)
    assert refused.value.details["refusals"] == {"breaker": 3}
    await empty.created(base_image=IMAGE)


async def test_a_bad_host_is_barred_as_a_whole_once_several_images_fail(two: World) -> None:
    alpha = await driver_on(two, "alpha")
    alpha.host.add_image(OTHER)
    await two.look("alpha")
    await failed_on(two, "alpha")
    await failed_on(two, "alpha", base_image=OTHER)
    await failed_on(two, "alpha", base_image=OTHER)
    (one,) = await breakers_of(two, "alpha")
    assert one.image is None
    assert (await two.events(kind="host.breaker"))[0].message.startswith("alpha builds nothing ")
    with pytest.raises(ConstraintImpossible):
        await two.create(base_image="unknown.qcow2")


async def test_what_is_open_outlives_a_restart(two: World) -> None:
    await failed_on(two, "alpha", times=3)
    fresh = FleetView(two.store, two.clock, policy=Policy.SPREAD, stale_after_seconds=60)
    await fresh.load()
    (alpha,) = [host for host in fresh.hosts() if host.name == "alpha"]
    assert alpha.breakers == await breakers_of(two, "alpha") != ()


async def test_a_host_that_never_answers_a_build_is_given_up_for_another(two: World) -> None:
    alpha = await driver_on(two, "alpha")
    alpha.faults.clear()
    alpha.fail("define", HostTimeout("alpha did not define a domain in 20 s"), times=10_000)
    made = await two.create()
    await two.settle(made.id)
    moved = await two.sandbox(made.id)
    assert (moved.state, moved.host_name) == (SandboxState.RUNNING, "beta")
    assert alpha.calls["define"] == two.limits.build_attempts
