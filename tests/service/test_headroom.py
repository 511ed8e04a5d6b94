"""How much room there is by what is committed: now, later, and with hosts away."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from scheduler.errors import NotFound
from scheduler.lifecycle.steps import ConditionKind
from scheduler.model import Breaker, Condition, DesiredState, OnExpire, Sandbox
from scheduler.placement import Headroom
from scheduler.placement.demand import ANY_IMAGE
from scheduler.service.requests import Wanted
from scheduler.store import Transaction
from tests.clocks import ManualClock
from tests.service.planes import IMAGE, Plane, wanted

AN_HOUR = timedelta(hours=1)


async def room(
    cloud: Plane, hours: int | None = None, *, without: str = "", **asked: object
) -> int:
    """Return how many sandboxes of two CPUs fit, so many hours from now."""
    return (await found(cloud, hours, without=without, **asked)).fits


async def found(
    cloud: Plane, hours: int | None = None, *, without: str = "", **asked: object
) -> Headroom:
    at = None if hours is None else cloud.clock.now() + hours * AN_HOUR
    names = without.split()
    return await cloud.services.placements.headroom(wanted(vcpus=2, **asked), at=at, without=names)


async def leased(cloud: Plane, hours: int, on_expire: OnExpire = OnExpire.DESTROY) -> Sandbox:
    """Create a sandbox of four CPUs whose lease ends in so many hours."""
    made = await cloud.create(vcpus=4)

    def unit(tx: Transaction) -> Sandbox:
        ends = cloud.clock.now() + hours * AN_HOUR
        ending = replace(made, expires_at=ends, on_expire=on_expire)
        return tx.sandboxes.replace(ending, expected_generation=made.generation)

    return await cloud.store.submit(unit)


async def test_claims_are_taken_off(cloud: Plane) -> None:
    assert await room(cloud) == 4
    await cloud.create(vcpus=5)
    assert await room(cloud) == 1


async def test_leases_that_end_until_then_give_their_room_back(cloud: Plane) -> None:
    await leased(cloud, 2)
    await leased(cloud, 5)
    assert [await room(cloud, hours) for hours in (None, 1, 2, 4, 5)] == [0, 0, 2, 2, 4]


async def test_what_is_watched_is_the_room_for_the_default_size(cloud: Plane) -> None:
    placements, default = cloud.services.placements, Wanted.model_construct(base_image=ANY_IMAGE)

    async def asked() -> int:
        return (await placements.headroom(default, at=None, without=())).fits

    before = placements.placeable()
    assert before == await asked() > 0
    await cloud.create()
    assert placements.placeable() == await asked() == before - 1


@pytest.mark.parametrize(("on_expire", "later"), [(OnExpire.STOP, 2), (OnExpire.IMAGE, 4)])
async def test_a_lease_that_stops_its_sandbox_gives_nothing_back(
    cloud: Plane, on_expire: OnExpire, later: int
) -> None:
    await leased(cloud, 1, on_expire)
    assert [await room(cloud, hours) for hours in (None, 1)] == [2, later]


async def test_the_second_end_of_a_lease_that_stopped_its_sandbox_gives_its_room_back(
    cloud: Plane,
) -> None:
    box = await leased(cloud, 1, OnExpire.STOP)
    ended = Condition(kind=ConditionKind.EXPIRED, message="it ended", since=cloud.clock.now())
    await cloud.store.submit(
        lambda tx: tx.sandboxes.replace(
            replace(box, conditions=(ended,)), expected_generation=box.generation
        )
    )
    assert [await room(cloud, hours) for hours in (None, 1)] == [2, 4]


async def test_what_is_being_destroyed_is_gone_by_then(cloud: Plane) -> None:
    made = await cloud.create(vcpus=4)
    doomed = replace(made, desired_state=DesiredState.DESTROYED)
    await cloud.store.submit(
        lambda tx: tx.sandboxes.replace(doomed, expected_generation=made.generation)
    )
    assert [await room(cloud, hours) for hours in (None, 0)] == [2, 4]


async def test_a_group_is_left_with_its_last_member(cloud: Plane) -> None:
    made = await cloud.create(vcpus=1, anti_affinity_group="db")
    ending = replace(made, expires_at=cloud.clock.now() + AN_HOUR)
    await cloud.store.submit(
        lambda tx: tx.sandboxes.replace(ending, expected_generation=made.generation)
    )
    assert [await room(cloud, hours, anti_affinity_group="db") for hours in (None, 1)] == [0, 1]


async def test_a_host_may_be_thought_away(cloud: Plane) -> None:
    await cloud.add_host("beta", cpus=2)
    await leased(cloud, 1)
    assert await room(cloud) == 3
    assert await room(cloud, without="alpha") == await room(cloud, 1, without="alpha") == 1
    assert await room(cloud, without="alpha beta") == 0
    with pytest.raises(NotFound, match="no host gamma"):
        await room(cloud, without="alpha gamma")


async def test_a_host_that_is_barred_is_tried_again_later(cloud: Plane, clock: ManualClock) -> None:
    now = clock.now()
    barred = Breaker(image=None, reason="no room", since=now, retry_at=now + AN_HOUR)
    (host,) = cloud.fleet.hosts()
    await cloud.store.submit(
        lambda tx: tx.hosts.replace(
            replace(host, breakers=(barred,)), expected_generation=host.generation
        )
    )
    (told,) = (await found(cloud)).hosts
    assert (told.fits, told.weighed.refused) == (0, ("breaker",))
    assert await room(cloud, 1, base_image=IMAGE) == 4
