"""Sandboxes, domains and listings to judge in tests, valid unless told otherwise."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from scheduler.model import (
    DomainState,
    HostResources,
    Inventory,
    Mark,
    ObservedDomain,
    ObservedPool,
    ObservedVolume,
    Sandbox,
    SandboxState,
    StateReason,
    VirtType,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
UUID = "5e3c4b6e-0000-5000-8000-000000000001"

_SANDBOX = Sandbox(
    id="SBX-1",
    job_id="JOB-1",
    agent_id="agent",
    sandbox_name="box",
    base_image="debian.qcow2",
    network="default",
    state=SandboxState.CREATED,
    vcpus=1,
    memory_mb=512,
    storage_mb=1024,
    host_name="alpha",
    host_id="HST-1",
    domain_uuid=UUID,
    created_at=NOW,
    updated_at=NOW,
    queued_at=NOW,
)


def sandbox(state: SandboxState = SandboxState.CREATED, **changes: object) -> Sandbox:
    """Return a sandbox in `state`."""
    return replace(_SANDBOX, state=state, **changes)  # type: ignore[arg-type]


def host(**changes: object) -> HostResources:
    """Return a host."""
    record = HostResources(id="HST-1", name="alpha", address="alpha.example", updated_at=NOW)
    return replace(record, **changes)  # type: ignore[arg-type]


def mark(sandbox_id: str = "SBX-1", uuid: str = UUID) -> Mark:
    """Return a verified mark."""
    return Mark(key_id="k1", cluster_id="c1", sandbox_id=sandbox_id, domain_uuid=uuid, text="{}")


def domain(
    state: DomainState = DomainState.RUNNING,
    reason: StateReason = StateReason.OTHER,
    *,
    uuid: str = UUID,
    marked: Mark | None = None,
    forged: bool = False,
) -> ObservedDomain:
    """Return a domain, unmarked unless a mark is given."""
    return ObservedDomain(
        uuid=uuid, name=f"sbx-{uuid[-1]}", state=state, reason=reason, mark=marked, forged=forged
    )


def listing(
    *domains: ObservedDomain,
    begun_at: float = 10.0,
    host_id: str = "HST-1",
    volumes: tuple[str, ...] = (),
) -> Inventory:
    """Return a complete listing of a host."""
    pool = ObservedPool(
        name="default",
        active=True,
        volumes=tuple(
            ObservedVolume(name=name, path=f"/pool/{name}", capacity=1, physical=1)
            for name in volumes
        ),
    )
    return Inventory(
        host_id=host_id,
        begun_at=begun_at,
        seen_at=NOW,
        host_uuid="host",
        libvirt_version="9.0.0",
        arch="x86_64",
        total_cpus=4,
        total_memory_mb=4096,
        virt_type=VirtType.QEMU,
        pool=pool,
        networks={"default": True},
        domains=domains,
    )
