"""The ledger: the guard, each of its limits, releases, and the audit."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from sqlalchemy import update

from scheduler.errors import AlreadyExists, Conflict, Invalid, NotFound
from scheduler.model import (
    Allocation,
    AllocationState,
    Condition,
    DesiredState,
    HostState,
    OnExpire,
    Resources,
)
from scheduler.store import Store, Transaction
from scheduler.store.repositories import host_queries
from scheduler.store.statements import Statement
from scheduler.store.tables import HOSTS
from tests.clocks import START
from tests.store.samples import allocation, host, later, sandbox


def claim(wanted: Allocation, tx: Transaction) -> Allocation:
    return tx.allocations.claim(wanted)


@pytest.fixture
async def fleet(store: Store) -> Store:
    """One host of 8 CPUs and three sandboxes that hold nothing."""

    def unit(tx: Transaction) -> None:
        tx.hosts.add(host(max_sandboxes=3))
        for number in range(1, 5):
            tx.sandboxes.add(sandbox(f"SBX-{number}"))

    await store.submit(unit)
    return store


async def test_a_claim_is_charged_and_a_release_gives_it_back(fleet: Store) -> None:
    claimed = await fleet.submit(lambda tx: tx.allocations.claim(allocation()))
    charged = await fleet.read(lambda tx: tx.hosts.get("HST-1"))
    assert charged.reserved == claimed.resources
    assert (charged.reserved_sandboxes, charged.generation) == (1, 2)
    assert await fleet.read(lambda tx: tx.allocations.get("SBX-1", "HST-1")) == claimed
    assert await fleet.submit(lambda tx: tx.allocations.release("SBX-1", "HST-1")) == claimed
    free = await fleet.read(lambda tx: tx.hosts.get("HST-1"))
    assert (free.reserved, free.reserved_sandboxes) == (Resources(), 0)
    with pytest.raises(NotFound):
        await fleet.submit(lambda tx: tx.allocations.release("SBX-1", "HST-1"))


@pytest.mark.parametrize(
    ("amounts", "filter"),
    [
        ({"vcpus": 9}, "cpu"),
        ({"memory_mb": 65_537}, "memory"),
        ({"storage_mb": 1_000_001}, "storage"),
    ],
)
async def test_i1_each_resource_has_its_guard(
    fleet: Store, amounts: dict[str, Any], filter: str
) -> None:
    with pytest.raises(Conflict, match="no room") as refused:
        await fleet.submit(lambda tx: tx.allocations.claim(allocation(**amounts)))
    (need,) = amounts.values()
    assert refused.value.details == {
        "host_id": "HST-1",
        "filter": filter,
        "have": need - 1,
        "need": need,
    }
    exact: dict[str, Any] = {name: value - 1 for name, value in amounts.items()}
    await fleet.submit(lambda tx: tx.allocations.claim(allocation(**exact)))


async def test_i1_the_number_of_sandboxes_has_its_guard(fleet: Store) -> None:
    for number in range(1, 4):
        await fleet.submit(partial(claim, allocation(f"SBX-{number}", vcpus=0)))
    with pytest.raises(Conflict) as refused:
        await fleet.submit(lambda tx: tx.allocations.claim(allocation("SBX-4", vcpus=0)))
    assert refused.value.details["filter"] == "limits"


async def test_only_an_active_host_takes_claims(fleet: Store) -> None:
    await fleet.submit(
        lambda tx: tx.hosts.set_state("HST-1", HostState.ACTIVE, HostState.CORDONED, at=START)
    )
    with pytest.raises(Conflict, match="CORDONED and takes no new work"):
        await fleet.submit(lambda tx: tx.allocations.claim(allocation()))


async def test_a_claim_on_nothing_or_of_less_than_nothing_is_refused(fleet: Store) -> None:
    with pytest.raises(Conflict, match="HST-9 is not in the fleet any more"):
        await fleet.submit(lambda tx: tx.allocations.claim(allocation(host_id="HST-9")))
    with pytest.raises(Invalid, match="cannot be negative"):
        await fleet.submit(lambda tx: tx.allocations.claim(allocation(vcpus=-1)))


async def test_i2_a_sandbox_is_charged_once_a_host_and_never_without_a_record(
    fleet: Store,
) -> None:
    await fleet.submit(lambda tx: tx.allocations.claim(allocation()))
    with pytest.raises(AlreadyExists):
        await fleet.submit(lambda tx: tx.allocations.claim(allocation()))
    with pytest.raises(Invalid, match="does not exist"):
        await fleet.submit(lambda tx: tx.allocations.claim(allocation("SBX-99")))
    charged = await fleet.read(lambda tx: tx.hosts.get("HST-1"))
    assert charged.reserved_sandboxes == 1


async def test_a_claim_may_come_before_its_sandbox(fleet: Store) -> None:
    await fleet.submit(
        lambda tx: (
            tx.allocations.claim(allocation("SBX-new")),
            tx.sandboxes.add(sandbox("SBX-new")),
        )
    )
    assert await fleet.read(lambda tx: tx.allocations.of_sandbox("SBX-new"))


async def test_a_group_has_one_sandbox_a_host(fleet: Store) -> None:
    await fleet.submit(
        lambda tx: tx.allocations.claim(allocation("SBX-1", anti_affinity_group="web"))
    )
    with pytest.raises(Conflict, match="another sandbox of group 'web'"):
        await fleet.submit(
            lambda tx: tx.allocations.claim(allocation("SBX-2", anti_affinity_group="web"))
        )
    for number, group in ((2, "db"), (3, None)):
        other = allocation(f"SBX-{number}", anti_affinity_group=group)
        await fleet.submit(partial(claim, other))
    assert len(await fleet.read(lambda tx: tx.allocations.all())) == 3


async def test_i3_a_claim_stays_charged_in_every_state(fleet: Store) -> None:
    await fleet.submit(lambda tx: tx.allocations.claim(allocation()))
    charged = (await fleet.read(lambda tx: tx.hosts.get("HST-1"))).reserved

    async def state() -> AllocationState:
        now = await fleet.read(lambda tx: tx.hosts.get("HST-1"))
        assert now.reserved == charged
        return (await fleet.read(lambda tx: tx.allocations.get("SBX-1", "HST-1"))).state

    assert await state() is AllocationState.CLAIMED
    await fleet.submit(lambda tx: tx.allocations.activate("SBX-1", "HST-1"))
    assert await state() is AllocationState.ACTIVE
    await fleet.submit(lambda tx: tx.allocations.mark_releasing("SBX-1", "HST-1"))
    assert await state() is AllocationState.RELEASING
    await fleet.submit(lambda tx: tx.allocations.take_back("SBX-1", "HST-1"))
    assert await state() is AllocationState.CLAIMED
    with pytest.raises(NotFound):
        await fleet.submit(lambda tx: tx.allocations.activate("SBX-2", "HST-1"))


async def test_the_audit_finds_and_heals_counters_that_are_not_the_sum(fleet: Store) -> None:
    await fleet.submit(lambda tx: tx.allocations.claim(allocation()))
    assert await fleet.read(lambda tx: tx.allocations.audit()) == ()
    await fleet.submit(_falsify)
    (found,) = await fleet.read(lambda tx: tx.allocations.audit())
    assert (found.counted.vcpus, found.allocated.vcpus) == (7, 2)
    assert (found.counted_sandboxes, found.allocated_sandboxes) == (1, 1)
    assert await fleet.submit(lambda tx: tx.allocations.audit()) == (found,)
    assert await fleet.submit(lambda tx: tx.allocations.audit(heal=True)) == (found,)
    assert await fleet.read(lambda tx: tx.allocations.audit()) == ()
    (event,) = await fleet.read(lambda tx: tx.events.find())
    assert (event.kind, event.host_id) == ("ledger.healed", "HST-1")


def _falsify(tx: Transaction) -> None:
    """Write a counter behind the ledger's back."""

    tx.cursor.change(Statement(update(HOSTS.table).values(reserved_cpus=7)), ())


async def test_a_counter_never_falls_below_nothing(fleet: Store) -> None:
    await fleet.submit(lambda tx: tx.allocations.claim(allocation(vcpus=8)))
    await fleet.submit(_falsify)
    with pytest.raises(Conflict, match="contradict"):
        await fleet.submit(lambda tx: tx.allocations.release("SBX-1", "HST-1"))
    assert len(await fleet.read(lambda tx: tx.allocations.all())) == 1


def test_the_counters_are_nobody_elses_to_write() -> None:
    written = str(host_queries.OVERWRITE.clause)
    assert not [name for name in host_queries.COUNTERS if f" {name}=" in written]


def record(wanted: Allocation, *, beyond_limits: bool, tx: Transaction) -> Allocation:
    return tx.allocations.record(wanted, beyond_limits=beyond_limits)


@pytest.mark.parametrize("state", HostState)
async def test_what_is_there_already_is_charged_whatever_the_host_s_state(
    fleet: Store, state: HostState
) -> None:
    await fleet.submit(
        lambda tx: tx.hosts.set_state("HST-1", HostState.ACTIVE, state, at=START, reason="")
    )
    await fleet.submit(lambda tx: record(allocation(), beyond_limits=False, tx=tx))
    charged = await fleet.read(lambda tx: tx.hosts.get("HST-1"))
    assert charged.reserved == allocation().resources
    assert await fleet.read(lambda tx: tx.allocations.audit()) == ()


async def test_i1_what_is_there_already_is_charged_beyond_a_limit_only_when_told(
    fleet: Store,
) -> None:
    large = allocation(vcpus=9)
    with pytest.raises(Conflict) as refused:
        await fleet.submit(lambda tx: record(large, beyond_limits=False, tx=tx))
    assert refused.value.details == {"host_id": "HST-1", "filter": "cpu", "have": 8, "need": 9}
    assert await fleet.read(lambda tx: tx.allocations.all()) == ()
    await fleet.submit(lambda tx: record(large, beyond_limits=True, tx=tx))
    charged = await fleet.read(lambda tx: tx.hosts.get("HST-1"))
    assert (charged.reserved.vcpus, charged.free.vcpus) == (9, -1)
    with pytest.raises(Conflict):
        await fleet.submit(lambda tx: tx.allocations.claim(allocation("SBX-2", vcpus=1)))


async def test_a_group_stays_apart_even_beyond_limits(fleet: Store) -> None:
    await fleet.submit(lambda tx: tx.allocations.claim(allocation(anti_affinity_group="db")))
    second = allocation("SBX-2", anti_affinity_group="db")
    with pytest.raises(Conflict) as refused:
        await fleet.submit(lambda tx: record(second, beyond_limits=True, tx=tx))
    assert refused.value.details["filter"] == "anti_affinity"
    charged = await fleet.read(lambda tx: tx.hosts.get("HST-1"))
    assert charged.reserved_sandboxes == 1


async def test_healing_says_who_asked_for_it(fleet: Store) -> None:
    await fleet.submit(lambda tx: tx.allocations.claim(allocation()))
    await fleet.submit(_falsify)
    await fleet.submit(lambda tx: tx.allocations.audit(heal=True, actor="uid:7"))
    events = await fleet.read(lambda tx: tx.events.find())
    assert [(one.kind, one.actor) for one in events] == [("ledger.healed", "uid:7")]


async def test_what_is_to_be_free_by_a_time_is_found(store: Store) -> None:
    ended = Condition(kind="expired", message="it ended", since=START)
    boxes = (
        sandbox("SBX-1", sandbox_name="a", expires_at=later(60)),
        sandbox("SBX-2", sandbox_name="b", expires_at=later(61)),
        sandbox("SBX-3", sandbox_name="c", expires_at=later(60), on_expire=OnExpire.STOP),
        sandbox(
            "SBX-4",
            sandbox_name="d",
            expires_at=later(60),
            on_expire=OnExpire.STOP,
            conditions=(ended,),
        ),
        sandbox("SBX-5", sandbox_name="e", desired_state=DesiredState.DESTROYED),
        sandbox("SBX-6", sandbox_name="f"),
    )

    def unit(tx: Transaction) -> None:
        tx.hosts.add(host())
        for box in boxes:
            tx.sandboxes.add(box)
            tx.allocations.claim(allocation(box.id, vcpus=1, memory_mb=1, storage_mb=1))

    await store.submit(unit)
    found = await store.read(lambda tx: tx.allocations.ending(later(60)))
    assert [one.sandbox_id for one in found] == ["SBX-1", "SBX-4", "SBX-5"]
