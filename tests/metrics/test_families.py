"""A snapshot as series: units, zeros, and hosts that come and go."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scheduler.metrics.families import MIB, families
from scheduler.metrics.snapshot import MetricsSnapshot
from scheduler.model import (
    AuthorityState,
    Breaker,
    Drain,
    HostHealth,
    HostResources,
    HostState,
    SandboxState,
    SshAuthority,
)
from tests.metrics.reading import Series, key, values
from tests.metrics.samples import NOW, host


def told(snapshot: MetricsSnapshot) -> Series:
    return values(families(snapshot, NOW))


def of(*hosts: HostResources) -> Series:
    return told(MetricsSnapshot(taken_at=NOW, hosts=hosts))


def test_sizes_are_told_in_base_units() -> None:
    series = of(host())
    assert series[key("host_cpu_capacity_cores", host="alpha")] == 8
    assert series[key("host_cpu_reserved_cores", host="alpha")] == 1
    assert series[key("host_cpu_allocatable_cores", host="alpha")] == 28
    assert series[key("host_cpu_allocated_cores", host="alpha")] == 6
    assert series[key("host_memory_capacity_bytes", host="alpha")] == 1024 * MIB
    assert series[key("host_memory_allocated_bytes", host="alpha")] == 512 * MIB
    pool = {"host": "alpha", "pool": "default"}
    assert series[key("host_storage_allocatable_bytes", **pool)] == 90 * MIB
    assert series[key("host_storage_available_bytes", **pool)] == 70 * MIB


def test_what_is_not_ours_is_told_beside_it() -> None:
    series = of(host(unmanaged_cpus=2, unmanaged_memory_mb=3, unmanaged_storage_mb=4))
    assert series[key("host_cpu_unmanaged_cores", host="alpha")] == 2
    assert series[key("host_memory_unmanaged_bytes", host="alpha")] == 3 * MIB
    assert series[key("host_storage_unmanaged_bytes", host="alpha", pool="default")] == 4 * MIB


@pytest.mark.parametrize(
    ("changes", "up", "schedulable"),
    [
        ({}, 1, 1),
        ({"state": HostState.CORDONED}, 1, 0),
        ({"health": HostHealth.SUSPECT}, 0, 0),
        ({"observed_at": NOW - timedelta(seconds=61)}, 1, 0),
        ({"observed_at": None}, 1, 0),
    ],
)
def test_a_host_is_up_and_schedulable_or_not(
    changes: dict[str, object], up: float, schedulable: float
) -> None:
    series = of(host(**changes))
    assert series[key("host_up", host="alpha")] == up
    assert series[key("host_schedulable", host="alpha")] == schedulable


def test_a_host_is_schedulable_for_as_long_as_placement_believes_its_facts() -> None:
    seen = host(observed_at=NOW - timedelta(seconds=61))
    for seconds, schedulable in ((60, 0), (62, 1)):
        series = told(MetricsSnapshot(taken_at=NOW, hosts=(seen,), stale_after_seconds=seconds))
        assert series[key("host_schedulable", host="alpha")] == schedulable


def test_state_and_health_are_one_of_several() -> None:
    series = of(host(state=HostState.DRAINING, health=HostHealth.DOWN))
    for state in HostState:
        expected = float(state is HostState.DRAINING)
        assert series[key("host_state", host="alpha", state=state.lower())] == expected
    for health in HostHealth:
        expected = float(health is HostHealth.DOWN)
        assert series[key("host_health", host="alpha", health=health.lower())] == expected


def test_open_breakers_are_counted_until_they_are_tried_again() -> None:
    def breaker(image: str | None, seconds: float) -> Breaker:
        retry_at = NOW + timedelta(seconds=seconds)
        return Breaker(image=image, reason="no", since=NOW, retry_at=retry_at)

    series = of(host(breakers=(breaker(None, 0), breaker("x", 60), breaker("y", 60))))
    assert series[key("host_breakers_open", host="alpha", scope="host")] == 0
    assert series[key("host_breakers_open", host="alpha", scope="image")] == 2


def test_ages_and_times() -> None:
    series = of(host(observed_at=NOW - timedelta(seconds=5)))
    assert series[key("host_inventory_age_seconds", host="alpha")] == 5
    assert series[key("host_last_seen_timestamp_seconds", host="alpha")] == NOW.timestamp()
    assert series[key("snapshot_timestamp_seconds")] == NOW.timestamp()


def test_what_was_never_seen_has_no_age() -> None:
    series = of(host(observed_at=None, last_seen_at=None))
    assert key("host_inventory_age_seconds", host="alpha") not in series
    assert key("host_last_seen_timestamp_seconds", host="alpha") not in series


def test_before_the_first_look_there_is_an_empty_page() -> None:
    series = told(MetricsSnapshot())
    assert series[key("snapshot_timestamp_seconds")] == 0
    assert not [name for name, _ in series if name.startswith("sandboxd_host")]


def test_sandboxes_are_counted_by_host_and_state() -> None:
    snapshot = MetricsSnapshot(
        taken_at=NOW,
        hosts=(host(max_sandboxes=9), host(id="HST-2", name="beta")),
        sandboxes={("HST-1", SandboxState.RUNNING): 3, (None, SandboxState.ERROR): 1},
        expired=2,
    )
    series = told(snapshot)
    assert series[key("host_sandboxes", host="alpha", state="running")] == 3
    assert series[key("host_sandboxes", host="alpha", state="error")] == 0
    assert series[key("host_sandboxes", host="beta", state="running")] == 0
    assert key("host_sandboxes", host="alpha", state="destroyed") not in series
    assert series[key("host_sandboxes_limit", host="alpha")] == 9
    assert key("host_sandboxes_limit", host="beta") not in series
    assert series[key("sandbox_expired_pending")] == 2


def test_drains_in_progress_are_told() -> None:
    drain = Drain(
        id="DRN-1",
        host_id="HST-1",
        host_name="alpha",
        actor="ana",
        remaining=4,
        started_at=NOW,
        deadline_at=NOW + timedelta(hours=1),
    )
    endless = Drain(id="DRN-2", host_id="HST-2", host_name="beta", actor="ana", started_at=NOW)
    series = told(MetricsSnapshot(drains=(drain, endless)))
    assert series[key("drain_remaining_sandboxes", host="alpha")] == 4
    deadline = key("drain_deadline_timestamp_seconds", host="alpha")
    assert series[deadline] == NOW.timestamp() + 3600
    assert key("drain_deadline_timestamp_seconds", host="beta") not in series


def test_a_host_that_is_removed_takes_its_series_along() -> None:
    both = of(host(), host(id="HST-2", name="beta"))
    one = of(host())
    gone = set(both) - set(one)
    assert gone
    assert all(("host", "beta") in labels for _, labels in gone)


def test_ssh_authorities_are_told_with_their_age_and_who_trusts_them() -> None:
    one = SshAuthority(
        id="SCA-1",
        name="ssh-ca.1",
        state=AuthorityState.KEPT,
        fingerprint="SHA256:x",
        created_at=NOW,
        created_by="system",
    )
    series = told(MetricsSnapshot(authorities=(one,), guests_by_authority={"SHA256:x": 3}))
    labels = {"authority": "ssh-ca.1", "state": "kept"}
    assert series[key("ssh_authority_created_timestamp_seconds", **labels)] == NOW.timestamp()
    assert series[key("ssh_authority_guests", **labels)] == 3
