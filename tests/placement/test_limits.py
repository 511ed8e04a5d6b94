"""Limits: the formula, never negative, and decimals as the operator wrote them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.model import Resources
from scheduler.placement import limit_of, with_limits
from tests.placement.fleets import host

AMOUNTS = st.integers(0, 10**7)
HUNDREDTHS = st.integers(0, 2_000)


@given(total=AMOUNTS, reserved=AMOUNTS, hundredths=HUNDREDTHS, unmanaged=AMOUNTS)
def test_every_resource_follows_the_formula(
    total: int, reserved: int, hundredths: int, unmanaged: int
) -> None:
    offered = Fraction(total - reserved) * Fraction(hundredths, 100)
    expected = max(0, offered.__floor__() - unmanaged)
    ratio = hundredths / 100

    limit = limit_of(
        host(
            total_cpus=total,
            total_memory_mb=total,
            total_storage_mb=total,
            system_reserved_cpus=reserved,
            system_reserved_memory_mb=reserved,
            system_reserved_storage_mb=reserved,
            ratio_cpu=ratio,
            ratio_memory=ratio,
            ratio_storage=ratio,
            unmanaged_cpus=unmanaged,
            unmanaged_memory_mb=unmanaged,
            unmanaged_storage_mb=unmanaged,
        )
    )

    assert limit == Resources(vcpus=expected, memory_mb=expected, storage_mb=expected)


@pytest.mark.parametrize(
    ("total", "reserved", "ratio", "unmanaged", "limit"),
    [
        (16, 2, 4.0, 0, 56),
        (16, 2, 4.0, 6, 50),
        (100, 0, 0.29, 0, 29),
        (3, 0, 1.5, 0, 4),
        (4, 8, 4.0, 0, 0),
        (4, 0, 1.0, 9, 0),
        (0, 0, 4.0, 0, 0),
    ],
)
def test_cpus(total: int, reserved: int, ratio: float, unmanaged: int, limit: int) -> None:
    one = host(
        total_cpus=total, system_reserved_cpus=reserved, ratio_cpu=ratio, unmanaged_cpus=unmanaged
    )

    assert limit_of(one).vcpus == limit


def test_resources_are_not_mixed_up() -> None:
    one = host(
        total_cpus=10,
        total_memory_mb=1_000,
        total_storage_mb=5_000,
        system_reserved_cpus=1,
        system_reserved_memory_mb=20,
        system_reserved_storage_mb=300,
        ratio_cpu=2.0,
        ratio_memory=0.5,
        ratio_storage=1.5,
        unmanaged_cpus=4,
        unmanaged_memory_mb=50,
        unmanaged_storage_mb=600,
        max_sandboxes=7,
    )

    written = with_limits(one)

    assert written.limit == limit_of(one) == Resources(vcpus=14, memory_mb=440, storage_mb=6_450)
    assert written.limit_sandboxes == 7
    assert with_limits(host(max_sandboxes=None, limit_sandboxes=3)).limit_sandboxes is None
