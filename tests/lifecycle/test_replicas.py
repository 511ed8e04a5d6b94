"""Which replicas go: what a drained host keeps, and what is too much, oldest use first."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.lifecycle.replicas import Place, abandoned, surplus
from scheduler.model import HostState, ImageState, Replica, ReplicaState
from tests.store.samples import host, image, later, replica

IMAGES = {
    f"IMG-{n}": image(f"IMG-{n}", digest=f"sha256:{n}", size_bytes=10 * 2**20) for n in range(4)
}
READY = ReplicaState.READY


def ready(number: int, **changes: Any) -> Replica:
    given: dict[str, Any] = {"state": READY, "used_at": later(number), **changes}
    return replica(f"IMG-{number}", **given)


def going(
    *replicas: Replica,
    limit_mb: int,
    used: frozenset[Place] = frozenset(),
    state: HostState = HostState.ACTIVE,
) -> list[str]:
    there = host(state=state)
    found = surplus(there, replicas, IMAGES, used=used, limit_mb=limit_mb)
    return [one.replica.image_id for one in found]


def test_within_the_limit_everything_stays() -> None:
    assert going(ready(0), ready(1), limit_mb=20) == []


def test_beyond_it_the_longest_unused_go_until_the_rest_fits() -> None:
    assert going(ready(2), ready(0), ready(1), limit_mb=20) == ["IMG-0"]
    assert going(ready(2), ready(0), ready(1), limit_mb=0) == ["IMG-0", "IMG-1", "IMG-2"]


def test_what_is_used_or_asked_for_stays_however_much_it_is() -> None:
    used = frozenset({("IMG-0", "HST-1")})
    assert going(ready(0), ready(1, pinned=True), ready(2), limit_mb=0, used=used) == ["IMG-2"]
    elsewhere = frozenset({("IMG-0", "HST-2")})
    assert going(ready(0), limit_mb=0, used=elsewhere) == ["IMG-0"]


@pytest.mark.parametrize("state", [ReplicaState.WANTED, ReplicaState.COPYING])
def test_what_is_on_its_way_counts_and_stays(state: ReplicaState) -> None:
    assert going(ready(0, state=state), ready(1), limit_mb=10) == ["IMG-1"]


def test_what_goes_already_counts_no_more() -> None:
    assert going(ready(0, state=ReplicaState.REMOVING), ready(1), limit_mb=10) == []


def test_a_drained_host_keeps_only_what_is_used() -> None:
    used = frozenset({("IMG-1", "HST-1")})
    going_there = going(
        ready(0, pinned=True), ready(1), limit_mb=100, used=used, state=HostState.DRAINED
    )
    assert going_there == ["IMG-0"]


@pytest.mark.parametrize(
    ("state", "idle", "expected"),
    [
        (ImageState.RECEIVING, 101, True),
        (ImageState.REFUSED, 101, True),
        (ImageState.RECEIVING, 100, False),
        (ImageState.READY, 10_000, False),
        (ImageState.CHECKING, 10_000, False),
    ],
)
def test_uploads_given_up_and_refusals_are_forgotten(
    state: ImageState, idle: float, expected: bool
) -> None:
    assert abandoned(image(state=state), idle, after_seconds=100) is expected
