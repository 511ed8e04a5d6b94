"""What the daemon's terms make of a request: defaults filled in, limits kept."""

from __future__ import annotations

from uuid import UUID

import pytest

from scheduler.errors import Invalid
from scheduler.model import Overhead, Resources
from scheduler.service.admission import demand_of, size_of, ttl_of
from scheduler.service.requests import CreateSandbox
from scheduler.service.terms import Terms

TERMS = Terms(
    cluster_id=UUID(int=1),
    default_vcpus=2,
    default_memory_mb=2048,
    default_storage_mb=10240,
    max_vcpus=4,
    max_memory_mb=4096,
    max_storage_mb=20480,
)


def request(**fields: object) -> CreateSandbox:
    return CreateSandbox.model_validate({"base_image": "debian", "agent_id": "ana", **fields})


def test_defaults_fill_what_is_not_asked_for() -> None:
    assert size_of(request(vcpus=1), TERMS) == Resources(vcpus=1, memory_mb=2048, storage_mb=10240)


def test_the_demand_includes_the_hypervisors_overhead() -> None:
    demand = demand_of(request(vcpus=4, memory_mb=4096), TERMS)
    assert demand.resources.memory_mb == 4096 + Overhead().of(4, 4096)


def test_a_limit_may_be_reached_but_not_passed() -> None:
    assert size_of(request(vcpus=4, memory_mb=4096, storage_mb=20480), TERMS).vcpus == 4
    with pytest.raises(Invalid) as refused:
        size_of(request(vcpus=5, memory_mb=4097), TERMS)
    assert refused.value.details == {"vcpus": "more than 4", "memory_mb": "more than 4096"}
    assert "vcpus 4, memory_mb 4096" in refused.value.message
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("asked", "default", "most", "given"),
    [
        (60, None, None, 60),
        (None, None, None, None),
        (None, 30, None, 30),
        (None, None, 90, 90),
        (None, 30, 90, 30),
        (90, 30, 90, 90),
    ],
)
def test_a_life_is_as_asked_for_by_default_or_at_most(
    asked: int | None, default: int | None, most: int | None, given: int | None
) -> None:
    terms = Terms(cluster_id=UUID(int=1), default_ttl_seconds=default, max_ttl_seconds=most)
    assert ttl_of(request(ttl_seconds=asked), terms) == given


def test_a_life_longer_than_the_maximum_is_refused() -> None:
    terms = Terms(cluster_id=UUID(int=1), max_ttl_seconds=90)
    with pytest.raises(Invalid) as refused:
        ttl_of(request(ttl_seconds=91), terms)
    assert refused.value.details == {"ttl_seconds": "more than 90"}
