"""The fleet in memory follows the store, charges what is on its way, and never knows better."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from scheduler.model import ReplicaState, Resources
from scheduler.service.admission import demand_of
from scheduler.store import Transaction
from tests.clocks import ManualClock
from tests.service.planes import TERMS, Plane, wanted
from tests.store import samples

DEMAND = demand_of(wanted(vcpus=2, anti_affinity_group="db"), TERMS)
ROOM = Resources(vcpus=2, memory_mb=100, storage_mb=100)


def free_cpus(cloud: Plane) -> int:
    """Return what the only host has free, as memory sees it."""
    return cloud.fleet.hosts()[0].free.vcpus


async def test_a_charge_counts_until_it_is_settled(cloud: Plane) -> None:
    host = cloud.fleet.hosts()[0]
    first = cloud.fleet.charge(host.id, DEMAND)
    second = cloud.fleet.charge(host.id, DEMAND)
    assert free_cpus(cloud) == 4

    cloud.fleet.settle(first, committed=False)
    assert free_cpus(cloud) == 6
    cloud.fleet.settle(second, committed=True)
    assert free_cpus(cloud) == 6


async def test_a_fresh_row_keeps_what_is_on_its_way(cloud: Plane) -> None:
    host = cloud.fleet.hosts()[0]
    charge = cloud.fleet.charge(host.id, DEMAND)

    cloud.fleet.put(host)
    assert free_cpus(cloud) == 6
    await cloud.fleet.load()
    assert free_cpus(cloud) == 6

    cloud.fleet.settle(charge, committed=False)
    assert free_cpus(cloud) == 8


async def test_groups_are_known_after_a_restart(cloud: Plane) -> None:
    await cloud.create(anti_affinity_group="db")

    await cloud.fleet.load()

    choice = await cloud.fleet.choose(DEMAND)
    assert choice.chosen is None
    assert choice.refusals == {"anti_affinity": 1}


async def test_what_is_removed_is_forgotten_with_its_charges(cloud: Plane) -> None:
    host = cloud.fleet.hosts()[0]
    charge = cloud.fleet.charge(host.id, DEMAND)

    cloud.fleet.drop(host.id)
    cloud.fleet.drop(host.id)
    cloud.fleet.settle(charge, committed=False)
    cloud.fleet.release(host.id, ROOM)

    assert cloud.fleet.hosts() == []
    late = cloud.fleet.charge(host.id, DEMAND)
    cloud.fleet.settle(late, committed=True)


async def test_rereading_takes_the_store_s_word(cloud: Plane) -> None:
    host = cloud.fleet.hosts()[0]
    cloud.fleet.release(host.id, ROOM)
    assert free_cpus(cloud) == 10

    await cloud.fleet.reread(host.id)
    assert free_cpus(cloud) == 8
    await cloud.store.submit(lambda tx: tx.hosts.remove(host.id))
    await cloud.fleet.reread(host.id)
    assert cloud.fleet.hosts() == []


async def test_a_host_that_could_not_be_read_for_a_while_has_its_groups_and_images(
    cloud: Plane,
) -> None:
    made = await cloud.create(anti_affinity_group="db")
    host = cloud.fleet.hosts()[0]
    image = samples.image()

    def held(tx: Transaction) -> None:
        tx.images.add(image)
        tx.replicas.add(samples.replica(image.id, host.id, state=ReplicaState.READY))

    await cloud.store.submit(held)
    cloud.fleet.drop(host.id)
    await cloud.fleet.reread_image(image.id)

    await cloud.fleet.meet(host)
    assert [one.id for one in cloud.fleet.hosts()] == [made.host_id]
    assert (await cloud.fleet.choose(DEMAND)).refusals == {"anti_affinity": 1}
    huge = replace(DEMAND, anti_affinity_group=None, image_digest=image.digest, image_mb=2**40)
    assert (await cloud.fleet.choose(huge)).chosen is not None, "there is no room for a copy"


async def test_refusals_reload_at_most_once_a_second(cloud: Plane, clock: ManualClock) -> None:
    clock.advance(2)
    answers = await asyncio.gather(*(cloud.fleet.reload() for _ in range(5)))
    assert answers.count(True) >= 1
    assert await cloud.fleet.reload() is False
    clock.advance(2)
    assert await cloud.fleet.reload() is True


async def test_decisions_are_told_once(cloud: Plane) -> None:
    told: list[str] = []
    cloud.fleet._decided = lambda choice, _seconds: told.append(choice.outcome.value)

    await cloud.fleet.choose(DEMAND)
    await cloud.fleet.choose(demand_of(wanted(vcpus=100), TERMS))

    assert told == ["placed", "constraint_impossible"]
