"""The ledger's statements over two hosts: each writes its own rows, all of them, and no others."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import update

from scheduler.errors import Conflict, Invalid, NotFound
from scheduler.model import Allocation, AllocationState, HostResources, Resources
from scheduler.store import Store, Transaction
from scheduler.store.statements import Statement
from scheduler.store.tables import HOSTS
from tests.store.samples import allocation, host, later, sandbox

HERE, THERE = "HST-1", "HST-2"
FIRST = allocation("SBX-1", HERE, vcpus=1, memory_mb=100, storage_mb=1_000)
SECOND = allocation("SBX-2", HERE, vcpus=2, memory_mb=200, storage_mb=2_000, claimed_at=later(-1))
ELSEWHERE = allocation("SBX-3", THERE, vcpus=4, memory_mb=400, storage_mb=4_000)
EVERYTHING = (FIRST, SECOND, ELSEWHERE)


@pytest.fixture
async def fleet(store: Store) -> Store:
    """Two hosts of which the second is first by name; one holds two sandboxes, one holds one."""

    def unit(tx: Transaction) -> None:
        tx.hosts.add(host(HERE, name="beta", max_sandboxes=2))
        tx.hosts.add(host(THERE, name="alpha", max_sandboxes=2))
        tx.hosts.add(host("HST-3", name="gamma"))
        for number in range(1, 5):
            tx.sandboxes.add(sandbox(f"SBX-{number}"))
        for wanted in EVERYTHING:
            assert tx.allocations.claim(wanted) == wanted

    await store.submit(unit)
    return store


async def charged(store: Store, host_id: str) -> HostResources:
    return await store.read(lambda tx: tx.hosts.get(host_id))


def books(one: HostResources) -> tuple[Resources, int, int]:
    return one.reserved, one.reserved_sandboxes, one.generation


async def test_every_claim_is_charged_to_its_own_host(fleet: Store) -> None:
    here, there = await charged(fleet, HERE), await charged(fleet, THERE)
    assert books(here) == (Resources(vcpus=3, memory_mb=300, storage_mb=3_000), 2, 3)
    assert books(there) == (Resources(vcpus=4, memory_mb=400, storage_mb=4_000), 1, 2)


async def test_allocations_are_read_by_host_and_by_sandbox_in_their_order(fleet: Store) -> None:
    moved = replace(FIRST, host_id=THERE, claimed_at=later(-5))
    twin = replace(SECOND, sandbox_id="SBX-4", host_id="HST-3")
    await fleet.submit(lambda tx: (tx.allocations.claim(moved), tx.allocations.claim(twin)))
    assert await fleet.read(lambda tx: tx.allocations.of_host(HERE)) == (SECOND, FIRST)
    assert await fleet.read(lambda tx: tx.allocations.of_sandbox("SBX-1")) == (moved, FIRST)
    rows = await fleet.read(lambda tx: tx.allocations.all())
    assert rows == (FIRST, SECOND, moved, ELSEWHERE, twin)


@pytest.mark.parametrize("beyond_limits", [False, True])
async def test_what_is_there_already_is_charged_to_its_own_host(
    fleet: Store, beyond_limits: bool
) -> None:
    found = allocation("SBX-4", THERE, vcpus=1, memory_mb=10, storage_mb=20)
    before = await charged(fleet, HERE)
    recorded = await fleet.submit(
        lambda tx: tx.allocations.record(found, beyond_limits=beyond_limits)
    )
    assert recorded == found
    assert await charged(fleet, HERE) == before
    there = await charged(fleet, THERE)
    assert books(there) == (Resources(vcpus=5, memory_mb=410, storage_mb=4_020), 2, 3)


async def test_a_state_is_written_where_it_was_meant(fleet: Store) -> None:
    moved = replace(FIRST, host_id=THERE, state=AllocationState.CLAIMED)
    await fleet.submit(lambda tx: tx.allocations.claim(moved))
    await fleet.submit(lambda tx: tx.allocations.mark_releasing("SBX-1", HERE))
    await fleet.submit(lambda tx: tx.allocations.activate("SBX-1", THERE))
    states = {
        (one.sandbox_id, one.host_id): one.state
        for one in await fleet.read(lambda tx: tx.allocations.all())
    }
    assert states == {
        ("SBX-1", HERE): AllocationState.RELEASING,
        ("SBX-1", THERE): AllocationState.ACTIVE,
        ("SBX-2", HERE): AllocationState.CLAIMED,
        ("SBX-3", THERE): AllocationState.CLAIMED,
    }


async def test_a_release_gives_back_what_it_was_charged_and_no_more(fleet: Store) -> None:
    elsewhere = await charged(fleet, THERE)
    assert await fleet.submit(lambda tx: tx.allocations.release("SBX-2", HERE)) == SECOND
    assert books(await charged(fleet, HERE)) == (FIRST.resources, 1, 4)
    assert await charged(fleet, THERE) == elsewhere
    assert await fleet.read(lambda tx: tx.allocations.all()) == (FIRST, ELSEWHERE)
    with pytest.raises(NotFound):
        await fleet.submit(lambda tx: tx.allocations.release("SBX-3", HERE))


async def test_i1_a_group_is_kept_apart_on_each_host_by_itself(fleet: Store) -> None:
    first = allocation("SBX-4", HERE, vcpus=0, anti_affinity_group="web")
    await fleet.submit(lambda tx: tx.allocations.release("SBX-2", HERE))
    await fleet.submit(partial(_claim, first))
    await fleet.submit(partial(_claim, replace(SECOND, host_id=THERE, anti_affinity_group="web")))
    there = await charged(fleet, THERE)
    assert there.reserved_sandboxes == 2


async def test_a_refused_claim_names_the_resource_that_is_short(fleet: Store) -> None:
    third = allocation("SBX-4", HERE, vcpus=5)
    with pytest.raises(Conflict) as refused:
        await fleet.submit(partial(_claim, third))
    # All that is left of the CPUs would do: it is the number of sandboxes that is used up.
    assert refused.value.details == {"host_id": HERE, "filter": "limits", "have": 2, "need": 3}


async def test_a_refused_group_charges_nobody(fleet: Store) -> None:
    grouped = replace(ELSEWHERE, sandbox_id="SBX-4", host_id="HST-3", anti_affinity_group="web")
    await fleet.submit(partial(_claim, grouped))
    before = await charged(fleet, "HST-3")
    with pytest.raises(Conflict, match="another sandbox of group 'web'"):
        await fleet.submit(partial(_claim, replace(grouped, sandbox_id="SBX-1", vcpus=1)))
    assert await charged(fleet, "HST-3") == before


async def test_what_is_there_already_may_belong_to_a_group_that_is_nowhere_else(
    fleet: Store,
) -> None:
    found = allocation("SBX-4", THERE, vcpus=1, anti_affinity_group="web")
    await fleet.submit(lambda tx: tx.allocations.record(found))
    assert await fleet.read(lambda tx: tx.allocations.get("SBX-4", THERE)) == found


async def test_the_audit_compares_each_host_and_heals_only_what_is_wrong(fleet: Store) -> None:
    right = await charged(fleet, "HST-3")
    await fleet.submit(_falsify)
    found = await fleet.read(lambda tx: tx.allocations.audit())
    assert [one.host_name for one in found] == ["alpha", "beta"]
    assert [one.counted.memory_mb for one in found] == [7, 7]
    assert [one.allocated for one in found] == [
        ELSEWHERE.resources,
        FIRST.resources + SECOND.resources,
    ]
    assert [(one.counted_sandboxes, one.allocated_sandboxes) for one in found] == [(1, 1), (2, 2)]
    wrong = await charged(fleet, HERE)
    assert await fleet.submit(lambda tx: tx.allocations.audit(heal=True)) == found
    healed = await charged(fleet, HERE)
    assert books(healed) == (FIRST.resources + SECOND.resources, 2, wrong.generation + 1)
    assert await charged(fleet, "HST-3") == right
    evidence = {
        event.host_id: event.evidence for event in await fleet.read(lambda tx: tx.events.find())
    }
    assert evidence[HERE] == {
        "from": {"sandboxes": 2, "vcpus": 3, "memory_mb": 7, "storage_mb": 3_000},
        "to": {"sandboxes": 2, "vcpus": 3, "memory_mb": 300, "storage_mb": 3_000},
    }


async def test_the_audit_sees_counters_of_a_host_that_holds_nothing(fleet: Store) -> None:
    number = update(HOSTS.table).where(HOSTS.table.c.id == "HST-3")
    await fleet.submit(
        lambda tx: tx.cursor.change(Statement(number.values(reserved_sandboxes=1)), ())
    )
    (found,) = await fleet.submit(lambda tx: tx.allocations.audit(heal=True))
    assert (found.host_id, found.counted_sandboxes, found.allocated_sandboxes) == ("HST-3", 1, 0)
    assert found.allocated == Resources()
    assert (await charged(fleet, "HST-3")).reserved_sandboxes == 0


def _claim(wanted: Allocation, tx: Transaction) -> Allocation:
    return tx.allocations.claim(wanted)


def _falsify(tx: Transaction) -> None:
    """Write a counter of the hosts that hold something, behind the ledger's back."""
    wrong = update(HOSTS.table).where(HOSTS.table.c.reserved_sandboxes > 0)
    tx.cursor.change(Statement(wrong.values(reserved_memory_mb=7)), ())


async def resize(
    store: Store, storage_mb: int, *, of: Allocation = FIRST, beyond_limits: bool = False
) -> Allocation:
    return await store.submit(
        lambda tx: tx.allocations.resize(
            of.sandbox_id, of.host_id, storage_mb, beyond_limits=beyond_limits
        )
    )


@pytest.mark.parametrize("beyond_limits", [False, True])
@pytest.mark.parametrize(("storage_mb", "reserved_mb"), [(1_001, 3_001), (999, 2_999), (0, 2_000)])
async def test_i2_what_a_claim_is_resized_by_is_charged_to_its_own_host(
    fleet: Store, storage_mb: int, reserved_mb: int, beyond_limits: bool
) -> None:
    resized = await resize(fleet, storage_mb, beyond_limits=beyond_limits)
    assert resized == replace(FIRST, storage_mb=storage_mb)
    rows = await fleet.read(lambda tx: tx.allocations.all())
    assert rows == (resized, SECOND, ELSEWHERE)
    here, there = await charged(fleet, HERE), await charged(fleet, THERE)
    assert books(here) == (Resources(vcpus=3, memory_mb=300, storage_mb=reserved_mb), 2, 4)
    assert books(there) == (Resources(vcpus=4, memory_mb=400, storage_mb=4_000), 1, 2)
    assert await fleet.submit(lambda tx: tx.allocations.audit()) == ()


async def test_a_claim_of_the_same_size_charges_nothing(fleet: Store) -> None:
    assert await resize(fleet, FIRST.storage_mb) == FIRST
    assert books(await charged(fleet, HERE))[2] == 3


async def test_i1_a_claim_grows_to_the_limit_and_beyond_it_only_when_told(fleet: Store) -> None:
    limit_mb = (await charged(fleet, HERE)).limit_storage_mb
    most_mb = limit_mb - SECOND.storage_mb
    with pytest.raises(Conflict, match="host beta has no room for this any more") as refused:
        await resize(fleet, most_mb + 1)
    assert refused.value.details == {
        "host_id": HERE,
        "filter": "storage",
        "have": limit_mb - 3_000,
        "need": most_mb + 1 - FIRST.storage_mb,
    }
    assert (await charged(fleet, HERE)).reserved.storage_mb == 3_000
    assert await fleet.read(lambda tx: tx.allocations.get("SBX-1", HERE)) == FIRST

    await resize(fleet, most_mb)
    assert (await charged(fleet, HERE)).reserved.storage_mb == limit_mb
    await resize(fleet, most_mb + 1, beyond_limits=True)
    assert (await charged(fleet, HERE)).reserved.storage_mb == limit_mb + 1
    # One that holds too much already may keep what it has, and give some back.
    assert (await resize(fleet, most_mb + 1)).storage_mb == most_mb + 1
    assert (await resize(fleet, most_mb)).storage_mb == most_mb


@pytest.mark.parametrize("beyond_limits", [False, True])
async def test_a_claim_is_never_resized_to_less_than_nothing(
    fleet: Store, beyond_limits: bool
) -> None:
    with pytest.raises(Invalid):
        await resize(fleet, -1, beyond_limits=beyond_limits)
    with pytest.raises(NotFound):
        await resize(fleet, 1, of=replace(FIRST, sandbox_id="SBX-4"))
    with pytest.raises(NotFound):
        await resize(fleet, 1, of=replace(FIRST, host_id=THERE))
    assert books(await charged(fleet, HERE))[2] == 3
