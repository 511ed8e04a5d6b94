"""What is not ours is counted: running foreign domains, and the pool's bytes beside our volumes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.lifecycle.usage import unmanaged
from scheduler.model import DomainState, ObservedDomain, Resources
from tests.lifecycle.samples import UUID, domain, listing, mark

MIB = 1024 * 1024


def sized(found: ObservedDomain) -> ObservedDomain:
    return replace(found, vcpus=2, memory_mb=1024)


@pytest.mark.parametrize(
    ("found", "counted"),
    [
        (domain(), True),
        (domain(DomainState.PAUSED), True),
        (domain(DomainState.SHUT_OFF), False),
        (domain(DomainState.CRASHED), False),
        (domain(marked=mark()), False),
        (domain(uuid="5e3c4b6e-0000-5000-8000-000000000009", marked=mark()), True),
    ],
    ids=["running", "paused", "off", "crashed", "ours", "marked without a record"],
)
def test_domains_that_no_allocation_stands_for_are_counted(
    found: ObservedDomain, counted: bool
) -> None:
    taken = unmanaged(listing(sized(found)), {UUID}, ())
    expected = Resources(vcpus=2, memory_mb=1024) if counted else Resources()
    assert taken == expected


@pytest.mark.parametrize(("allocation", "held"), [(10 * MIB, 8), (10 * MIB - 1, 7), (MIB, 0)])
def test_the_pools_other_bytes_are_counted_in_whole_mebibytes(allocation: int, held: int) -> None:
    inventory = listing(volumes=("sbx-1.qcow2", "other.qcow2"))
    assert inventory.pool is not None
    volumes = tuple(replace(volume, physical=2 * MIB) for volume in inventory.pool.volumes)
    pool = replace(inventory.pool, allocation=allocation, volumes=volumes)
    taken = unmanaged(replace(inventory, pool=pool), (), {"sbx-1.qcow2"})
    assert taken == Resources(storage_mb=held)


def test_whose_a_volume_is_goes_by_its_name() -> None:
    inventory = listing(volumes=("sbx-1.qcow2", "other.qcow2"))
    assert inventory.pool is not None
    sizes = {"sbx-1.qcow2": 2 * MIB, "other.qcow2": 5 * MIB}
    volumes = tuple(replace(each, physical=sizes[each.name]) for each in inventory.pool.volumes)
    pool = replace(inventory.pool, allocation=7 * MIB, volumes=volumes)
    taken = unmanaged(replace(inventory, pool=pool), (), {"sbx-1.qcow2"})
    assert taken == Resources(storage_mb=5)


def test_a_host_without_its_pool_holds_nothing() -> None:
    assert unmanaged(replace(listing(), pool=None), (), ()) == Resources()
