"""A demand that makes no sense is refused before anybody is asked."""

from __future__ import annotations

import pytest

from scheduler.errors import Invalid
from scheduler.placement.demand import LARGEST_AMOUNT
from tests.placement.fleets import demand


@pytest.mark.parametrize("field", ["vcpus", "memory_mb", "storage_mb"])
@pytest.mark.parametrize("amount", [-1, LARGEST_AMOUNT + 1, 10**30])
def test_amounts_out_of_range_are_invalid(field: str, amount: int) -> None:
    with pytest.raises(Invalid) as refused:
        demand(**{field: amount})

    assert refused.value.details == {field: "out of range"}
    assert refused.value.remedy


def test_the_largest_and_the_least_are_asked_for() -> None:
    assert demand(vcpus=0, memory_mb=0, storage_mb=0).image == "debian-12"
    assert demand(vcpus=LARGEST_AMOUNT).resources.vcpus == LARGEST_AMOUNT
