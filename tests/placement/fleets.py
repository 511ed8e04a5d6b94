"""Hosts and demands for the tests of placement: ordinary ones to vary, and drawn ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from scheduler.model import Breaker, HostHealth, HostResources, HostState, Resources, VirtType
from scheduler.placement import Demand

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

WELL = HostResources(
    id="HST-A",
    name="kvm-01",
    address="10.0.0.1",
    updated_at=NOW,
    health=HostHealth.UP,
    observed_at=NOW - timedelta(seconds=5),
    arch="x86_64",
    labels={"zone": "a"},
    observed_images=("debian-12",),
    observed_networks=("default",),
    observed_pool_active=True,
    limit_cpus=16,
    limit_memory_mb=16_384,
    limit_storage_mb=100_000,
)
"""A host that takes ASKED."""

ASKED = Demand(resources=Resources(vcpus=2, memory_mb=2_304, storage_mb=10_240), image="debian-12")


def host(name: str = "kvm-01", **changes: Any) -> HostResources:
    """Return WELL under another name and with `changes`; the id follows the name."""
    return replace(WELL, **({"id": f"HST-{name}", "name": name} | changes))


def demand(vcpus: int = 2, memory_mb: int = 2_304, storage_mb: int = 10_240, **rest: Any) -> Demand:
    """Return ASKED with other amounts and `rest`."""
    resources = Resources(vcpus=vcpus, memory_mb=memory_mb, storage_mb=storage_mb)
    return replace(ASKED, resources=resources, **rest)


def breaker(image: str | None = None, *, since: float = 0, seconds: float = 60) -> Breaker:
    """Return a breaker that opened so long after NOW, for so long."""
    opened = NOW + timedelta(seconds=since)
    return Breaker(
        image=image, reason="no room", since=opened, retry_at=opened + timedelta(seconds=seconds)
    )


_NAMES = st.sampled_from(["a", "b", "kvm-01", "kvm-02", "é", "x\x1b[31m", "<&>", "'; --"])
_ZONES = st.sampled_from(["a", "b"])
_GROUPS = st.sampled_from(["g", "h"])
_SEEN = st.one_of(st.none(), st.integers(0, 90).map(lambda age: NOW - timedelta(seconds=age)))


def _mostly(usual: Any, *rare: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([usual, usual, usual, *rare])


@st.composite
def hosts(draw: st.DrawFn) -> HostResources:
    """Draw a host on which each filter refuses now and then."""
    name = draw(_NAMES)
    return HostResources(
        id=f"HST-{name}",
        name=name,
        address="10.0.0.1",
        updated_at=NOW,
        state=draw(_mostly(HostState.ACTIVE, *HostState)),
        state_reason=draw(st.sampled_from([None, "disk swap"])),
        health=draw(_mostly(HostHealth.UP, *HostHealth)),
        health_reason=draw(st.sampled_from([None, "connection refused"])),
        observed_at=draw(_SEEN),
        arch=draw(_mostly("x86_64", "aarch64", None)),
        virt_type=draw(_mostly(VirtType.AUTO, VirtType.KVM)),
        proven_virt_type=draw(st.sampled_from([None, VirtType.KVM, VirtType.QEMU])),
        labels=draw(st.dictionaries(st.just("zone"), _ZONES)),
        pool=draw(_mostly("default", "fast")),
        network=draw(_mostly("default", "br0")),
        networks=draw(_mostly(("br0",), ())),
        observed_images=draw(_mostly(("debian-12",), (), ("alpine-3",))),
        observed_networks=draw(_mostly(("default", "br0"), ("default",), ())),
        observed_pool_active=draw(_mostly(True, False)),
        limit_cpus=draw(st.integers(0, 8)),
        limit_memory_mb=draw(st.integers(0, 8)),
        limit_storage_mb=draw(st.integers(0, 8)),
        limit_sandboxes=draw(st.sampled_from([None, None, 0, 1, 2])),
        reserved_cpus=draw(st.integers(0, 6)),
        reserved_memory_mb=draw(st.integers(0, 6)),
        reserved_storage_mb=draw(st.integers(0, 6)),
        reserved_sandboxes=draw(st.integers(0, 2)),
        breakers=draw(_mostly((), (breaker(),), (breaker("alpine-3"),), (breaker(since=9),))),
    )


@st.composite
def demands(draw: st.DrawFn) -> Demand:
    """Draw a demand that asks for everything now and then."""
    return Demand(
        resources=draw(resources()),
        image=draw(_mostly("debian-12", "alpine-3", "../etc")),
        network=draw(_mostly(None, "default", "br0")),
        pool=draw(_mostly(None, "default", "fast")),
        arch=draw(_mostly(None, "x86_64", "aarch64")),
        host=draw(_mostly(None, None, "kvm-01", "nobody")),
        selector=draw(st.dictionaries(st.just("zone"), _ZONES)),
        anti_affinity_group=draw(st.one_of(st.none(), _GROUPS)),
        image_digest=draw(_mostly(None, "sha256:a")),
        image_mb=draw(st.integers(0, 2)),
        tried=draw(_mostly((), ("kvm-01",), ("kvm-02", "nobody"))),
    )


def resources() -> st.SearchStrategy[Resources]:
    """Draw amounts that often fit and often do not."""
    amount = st.integers(0, 4)
    return st.builds(Resources, vcpus=amount, memory_mb=amount, storage_mb=amount)


def fleets() -> st.SearchStrategy[list[HostResources]]:
    """Draw up to seven hosts with different names."""
    return st.lists(hosts(), max_size=7, unique_by=lambda each: each.name)


def groups() -> st.SearchStrategy[dict[str, set[str]]]:
    """Draw which groups are where; hosts that are not in the fleet are among them."""
    ids = _NAMES.map(lambda name: f"HST-{name}")
    return st.dictionaries(ids, st.sets(_GROUPS))
